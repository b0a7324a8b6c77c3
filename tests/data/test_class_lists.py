"""Class names in files: lists, maps, and the classes of a data set that a word names."""

import json

import pytest

from tutelage.data.class_lists import choose_classes, read_classes, read_names
from tutelage.errors import DataError, LabelSpaceError
from tutelage.labels import LabelSpace

SPACE = LabelSpace(("fox", "owl", "cat", "pickup_truck"))


@pytest.fixture
def file(tmp_path):
    """Writes a file of class names and gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


class TestLists:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.json", ["fox", "owl"]),
            ("a.json", {"train": ["fox"], "test": ["owl"], "source": "a paper"}),
            ("a.csv", "fox\n\nowl\n"),
            ("a.txt", "fox\n  owl  \n\n"),
            ("a.TXT", "\ufefffox\r\nowl\r\n"),
        ],
    )
    def test_all_ways_to_write_one(self, file, name, content):
        assert read_names(str(file(name, content))) == ("fox", "owl")

    def test_a_key_chooses_among_lists_and_a_plus_joins_them(self, file):
        path = file("a.json", {"train": ["a", "b"], "val": ["c"], "test": ["d"]})
        assert read_names(f"{path}:val") == ("c",)
        assert read_names(f"{path}:test+train") == ("d", "a", "b")

    def test_positions_cut_a_list(self, file):
        path = file("a.json", {"train": ["a", "b"], "test": ["c", "d"]})
        assert read_names(f"{path}:1:3") == ("b", "c")
        assert read_names(f"{path}:test:1:2") == ("d",)
        lines = file("b.txt", "x y\nz\n")
        assert read_names(f"{lines}:0:1") == ("x y",)

    def test_an_unknown_key_is_refused_with_those_there_are(self, file):
        with pytest.raises(LabelSpaceError, match="no list of classes 'valid'; its lists are: train, test"):
            read_classes(f"{file('a.json', {'train': ['a'], 'test': ['b'], 'note': 'x'})}:valid")

    @pytest.mark.parametrize("positions", ["0:3", "2:2", "2:1"])
    def test_positions_outside_are_refused(self, file, positions):
        path = file("a.txt", "a\nb")
        with pytest.raises(LabelSpaceError, match=f"positions {positions} are not among the 2 classes"):
            read_classes(f"{path}:{positions}")

    @pytest.mark.parametrize("content", [[1, 2], {"train": [1]}, {}, [], 3, {"a": 1}])
    def test_json_of_something_else_is_refused(self, file, content):
        with pytest.raises(LabelSpaceError, match="lists of class names"):
            read_classes(str(file("a.json", content)))

    def test_a_missing_file_is_named(self):
        with pytest.raises(DataError, match=r"cannot read the class list none\.json: No such file"):
            read_classes("none.json")

    @pytest.mark.parametrize(("name", "content"), [("a.json", "{"), ("a.json", "")])
    def test_a_damaged_file_is_named(self, file, name, content):
        with pytest.raises(DataError, match=r"a\.json is damaged"):
            read_classes(str(file(name, content)))

    def test_a_file_of_another_kind_is_refused(self):
        with pytest.raises(LabelSpaceError, match=r"from a \.json, \.csv or \.txt file, got 'classes\.xml'"):
            read_classes("classes.xml")


class TestMaps:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.json", {"pickup truck": "pickup_truck", "0": "fox"}),
            ("a.csv", "teacher,student\npickup truck,pickup_truck\n0,fox\n"),
            ("a.csv", '"pickup truck", pickup_truck\n0,fox\n'),
        ],
    )
    def test_all_ways_to_write_one(self, file, name, content):
        assert read_classes(str(file(name, content))) == {"pickup truck": "pickup_truck", "0": "fox"}

    def test_a_map_is_no_list(self, file):
        with pytest.raises(LabelSpaceError, match="holds a map of names"):
            read_names(str(file("a.json", {"a": "b"})))

    def test_a_name_that_is_mapped_twice_is_refused(self, file):
        with pytest.raises(LabelSpaceError, match="more than once: 'a'"):
            read_classes(str(file("a.csv", "a,b\na,c\n")))

    def test_a_ragged_table_is_refused(self, file):
        with pytest.raises(LabelSpaceError, match=r"one column of names, or two .* it has \[1, 2\]"):
            read_classes(str(file("a.csv", "a,b\nc\n")))


class TestChoice:
    def test_positions_are_those_of_the_data(self):
        assert choose_classes("1:3", SPACE).names == ("owl", "cat")

    def test_names_come_in_the_order_in_which_they_are_named(self):
        assert choose_classes("cat, fox", SPACE).names == ("cat", "fox")

    def test_a_file_says_the_order(self, file):
        assert choose_classes(f"{file('o.json', ['cat', 'owl', 'fox'])}:0:2", SPACE).names == ("cat", "owl")

    def test_a_name_that_the_data_lacks_is_refused_with_the_nearest(self):
        with pytest.raises(LabelSpaceError, match=r"1 of the 2 classes .*'pickup truck'; .* is 'pickup_truck' there"):
            choose_classes("fox,pickup truck", SPACE)
        with pytest.raises(LabelSpaceError, match=r"not in the data: 'zebra'; its 4 classes are 'fox'"):
            choose_classes("fox,zebra", SPACE)

    @pytest.mark.parametrize("positions", ["0:5", "3:3"])
    def test_positions_outside_are_refused(self, positions):
        with pytest.raises(LabelSpaceError, match=f"positions {positions} are not among the 4 classes of the data"):
            choose_classes(positions, SPACE)

    @pytest.mark.parametrize(
        ("text", "message"), [("0:1", "at least two"), ("fox", "at least two"), ("fox,fox", "once")]
    )
    def test_one_class_and_one_twice_are_refused(self, text, message):
        with pytest.raises(LabelSpaceError, match=message):
            choose_classes(text, SPACE)
