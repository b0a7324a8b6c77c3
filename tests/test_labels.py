"""How two sets of classes relate, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import LabelSpaceError
from tutelage.labels import LabelSpace

few = settings(max_examples=25, deadline=None)
spaces = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=8, unique=True).map(
    lambda names: LabelSpace(tuple(names))
)


@few
@given(spaces, spaces)
def test_the_relation_is_symmetric(one, other):
    assert one.relation(other) == other.relation(one)


@few
@given(spaces, spaces)
def test_the_index_maps_find_the_same_name_in_the_other_space(one, other):
    for name, index in zip(one.names, one.index_in(other), strict=True):
        assert name not in other.names if index == -1 else other.names[index] == name


@few
@given(spaces, spaces)
def test_the_relation_is_disjoint_exactly_if_no_name_is_shared(one, other):
    assert (one.relation(other) == "disjoint") == (not set(one.names) & set(other.names))
    assert set(one.shared_with(other)) == set(one.names) & set(other.names)


def test_equal_names_in_another_order_overlap_because_columns_may_not_be_compared():
    assert LabelSpace(("a", "b")).relation(LabelSpace(("b", "a"))) == "overlap"


def test_a_space_is_the_same_as_its_copy():
    assert LabelSpace(("a", "b")).relation(LabelSpace(("a", "b"))) == "same"


def test_numbered_classes_are_their_numbers():
    assert LabelSpace.numbered(3).names == ("0", "1", "2")
    assert len(LabelSpace.numbered(3)) == 3


def test_shared_names_keep_the_order_of_the_first_space():
    assert LabelSpace(("c", "a", "b")).shared_with(LabelSpace(("a", "b", "c"))) == ("c", "a", "b")


@pytest.mark.parametrize("names", [(), ("one",)])
def test_fewer_than_two_classes_are_refused(names):
    with pytest.raises(LabelSpaceError, match=f"at least two classes, got {len(names)}"):
        LabelSpace(names)


def test_a_name_that_occurs_twice_is_refused_and_named():
    with pytest.raises(LabelSpaceError, match=r"more than once: \['b'\]"):
        LabelSpace(("a", "b", "b"))


class TestRequire:
    def test_an_allowed_relation_passes(self):
        assert LabelSpace(("a", "b")).require(LabelSpace(("b", "c")), ("overlap",), who="x") is None

    def test_a_refusal_holds_both_counts_what_is_shared_and_what_to_do(self):
        with pytest.raises(LabelSpaceError) as caught:
            LabelSpace(("a", "b")).require(LabelSpace(("b", "c", "d")), ("same",), who="kd")
        message = str(caught.value)
        assert message.startswith("kd needs a teacher of the student's classes")
        assert "teacher has 3 classes, the student 2, and they share 1:" in message
        assert "tutelage list methods" in message

    def test_another_order_is_said_to_be_the_reason(self):
        with pytest.raises(LabelSpaceError, match=r"share 2 \(in another order\)"):
            LabelSpace(("a", "b")).require(LabelSpace(("b", "a")), ("same",), who="kd")
