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
        assert "teacher has 3 classes, the student 2, and they share 1 ('b'):" in message
        assert "tutelage list methods" in message

    def test_another_order_is_said_to_be_the_reason(self):
        with pytest.raises(LabelSpaceError, match=r"share 2 \('a', 'b' in another order\): .*--shared-only"):
            LabelSpace(("a", "b")).require(LabelSpace(("b", "a")), ("same",), who="kd")

    def test_of_many_shared_names_the_first_few_are_listed(self):
        names = tuple("abcdefgh")
        with pytest.raises(LabelSpaceError, match=r"share 8 \('a', 'b', 'c', 'd', 'e', … in another order\)"):
            LabelSpace(names).require(LabelSpace(names[::-1]), ("same",), who="kd")

    def test_a_name_that_is_spelled_otherwise_is_pointed_out(self):
        mine, theirs = LabelSpace(("pickup_truck", "fox")), LabelSpace(("Pickup Truck", "owl"))
        with pytest.raises(LabelSpaceError, match=r"share 0; 'pickup_truck' is 'Pickup Truck' there, perhaps: .*map"):
            mine.require(theirs, ("same",), who="kd")

    def test_one_shared_class_is_no_reason_to_compare_the_shared_classes(self):
        with pytest.raises(LabelSpaceError) as caught:
            LabelSpace(("a", "b")).require(LabelSpace(("b", "c")), ("same",), who="kd")
        assert "--shared-only" not in str(caught.value)


class TestNearMisses:
    @pytest.mark.parametrize("theirs", ["Pickup Truck", "pickup-truck", "PICKUP_TRUCK", "pickuptruck", "pickup_trucks"])
    def test_case_spaces_and_hyphens_do_not_count_and_little_else_does(self, theirs):
        mine, other = LabelSpace(("pickup_truck", "fox")), LabelSpace((theirs, "owl"))
        assert mine.near_misses(other) == (("pickup_truck", theirs),)

    def test_a_name_that_both_have_is_none(self):
        assert LabelSpace(("fox", "Fox")).near_misses(LabelSpace(("fox", "owl"))) == ()

    def test_numbers_are_not_near_each_other(self):
        assert LabelSpace(("1", "10")).near_misses(LabelSpace(("11", "100"))) == ()

    def test_of_many_names_only_the_spelling_is_compared(self):
        ours = LabelSpace((*(f"our class {i}" for i in range(600)), "pickup truck", "bicycles"))
        theirs = LabelSpace((*(f"their kind {i}" for i in range(600)), "pickup_truck", "bicycle"))
        assert ours.near_misses(theirs) == (("pickup truck", "pickup_truck"),)


class TestRenamed:
    def test_a_list_gives_all_names_in_order(self):
        assert LabelSpace.numbered(2).renamed(["fox", "owl"], who="t") == LabelSpace(("fox", "owl"))

    def test_a_map_gives_some_and_the_others_keep_theirs(self):
        space = LabelSpace(("pickup truck", "fox")).renamed({"pickup truck": "pickup_truck"}, who="t")
        assert space == LabelSpace(("pickup_truck", "fox"))

    def test_a_list_of_another_length_is_refused_with_both_lengths(self):
        with pytest.raises(LabelSpaceError, match=r"list has 3 names \('a', 'b', 'c'\), and the teacher has 2 classes"):
            LabelSpace.numbered(2).renamed(["a", "b", "c"], who="the teacher")

    def test_a_map_of_unknown_names_is_refused_with_those_there_are(self):
        with pytest.raises(LabelSpaceError, match=r"names 1 classes that t lacks: 'cow'; its classes are '0', '1'"):
            LabelSpace.numbered(2).renamed({"cow": "ox"}, who="t")

    def test_a_map_to_a_name_that_is_taken_is_refused(self):
        with pytest.raises(LabelSpaceError, match=r"more than once: \['fox'\]"):
            LabelSpace(("wolf", "fox")).renamed({"wolf": "fox"}, who="t")
