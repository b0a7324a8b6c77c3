"""Names beside marks: none on another, none outside, none nearer to another's mark."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.report.placing import Box, placed

INSIDE = Box(0.0, 0.0, 300.0, 200.0)
POINTS = st.lists(st.tuples(st.floats(5, 295), st.floats(5, 195)), max_size=12)


def round_each(points, reach=5.0):
    return [Box(x - reach, y - reach, x + reach, y + reach) for x, y in points]


@given(POINTS, st.data())
def test_names_are_inside_and_apart(points, data):
    widths = data.draw(st.lists(st.floats(10, 120), min_size=len(points), max_size=len(points)))
    found = placed(points, widths, INSIDE, round_each(points))
    boxes = [(i, box) for i, box in enumerate(found) if box is not None]
    for place, (i, box) in enumerate(boxes):
        assert box.within(INSIDE)
        assert box.right - box.left == widths[i] or abs(box.right - box.left - widths[i]) < 1e-9
        assert not any(box.meets(other) for _, other in boxes[:place])
        assert not any(box.meets(mark) for j, mark in enumerate(round_each(points)) if j != i)
        assert box.gap(*points[i]) == min(box.gap(*point) for point in points)


def test_a_lone_name_stands_right_of_its_mark():
    (box,) = placed([(100.0, 100.0)], [40.0], INSIDE, round_each([(100.0, 100.0)]))
    assert (box.left, box.top, box.bottom) == (108.0, 93.0, 107.0)


def test_at_the_right_edge_it_stands_left():
    (box,) = placed([(290.0, 100.0)], [40.0], INSIDE, round_each([(290.0, 100.0)]))
    assert box.right == 282.0


def test_a_line_is_avoided_where_there_is_room_and_crossed_rather_than_left_far_behind():
    beside = Box(112.0, 0.0, 114.0, 200.0)
    (box,) = placed([(100.0, 100.0)], [40.0], INSIDE, round_each([(100.0, 100.0)]), [beside])
    assert not box.meets(beside)
    everywhere = [Box(x, 0.0, x + 1.0, 200.0) for x in range(0, 300, 10)]
    (crossing,) = placed([(100.0, 100.0)], [40.0], INSIDE, round_each([(100.0, 100.0)]), everywhere)
    assert crossing.gap(100.0, 100.0) == 8.0


def test_where_there_is_no_room_there_is_no_name():
    assert placed([(100.0, 100.0)], [400.0], INSIDE, round_each([(100.0, 100.0)])) == [None]
