"""One family of errors, and messages that say what to do."""

import inspect

import pytest

from tutelage import errors
from tutelage.errors import MissingExtraError, TutelageError, UnknownNameError

every = pytest.mark.parametrize("name", errors.__all__)


@every
def test_every_error_is_of_the_family_and_caught_as_one(name):
    assert issubclass(getattr(errors, name), TutelageError)


def test_every_error_of_the_file_is_public():
    found = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert found == set(errors.__all__)


@every
def test_the_tree_at_the_head_of_the_file_names_every_error(name):
    assert any(name in line.split() for line in errors.__doc__.splitlines())


def test_the_tree_at_the_head_of_the_file_is_the_tree_of_the_classes():
    parents = {0: None}
    for line in errors.__doc__.partition("::\n")[2].splitlines():
        words = line.strip(" │├└─").split()
        if not words:
            continue
        depth = (len(line) - len(line.lstrip(" │├└─"))) // 4
        parents[depth] = getattr(errors, words[0])
        builtin = words[1].strip("()") if len(words) > 1 and words[1].startswith("(") else None
        assert parents[depth - 1] is None or issubclass(parents[depth], parents[depth - 1])
        assert builtin is None or builtin in [base.__name__ for base in parents[depth].__mro__]
    assert len(parents) == 4


@pytest.mark.parametrize(
    ("name", "builtin"),
    [("ShapeError", ValueError), ("RunError", RuntimeError), ("MissingExtraError", ImportError)],
)
def test_code_that_knows_only_the_errors_of_python_catches_them(name, builtin):
    assert issubclass(getattr(errors, name), builtin)


class TestUnknownName:
    def test_it_names_the_five_nearest_and_counts_all(self):
        message = str(UnknownNameError("network", "resnet9", [f"resnet{n}" for n in range(10, 90, 10)] + ["vgg"]))
        assert "'resnet9'" in message
        assert "the nearest of 9: " in message
        assert message.count("resnet") == 6
        assert "vgg" not in message

    def test_the_most_similar_name_comes_first(self):
        assert "of 3: fitnet," in str(UnknownNameError("method", "fitnets", ["kd", "dkd", "fitnet"]))

    def test_without_any_name_it_says_so(self):
        assert str(UnknownNameError("tap", "x", [])) == "unknown tap 'x'; none is known"

    def test_the_hint_closes_the_message(self):
        assert str(UnknownNameError("tap", "x", ["y"], hint="Name it.")).endswith(": y. Name it.")

    def test_an_empty_name_is_shown_as_such(self):
        assert "unknown method ''" in str(UnknownNameError("method", "", ["kd"]))


class TestMissingExtra:
    def test_it_holds_the_install_command_and_what_the_import_said(self):
        message = str(MissingExtraError("timm", ModuleNotFoundError("No module named 'timm'")))
        assert "pip install 'tutelage[timm]'" in message
        assert "ModuleNotFoundError: No module named 'timm'" in message

    def test_a_plain_reason_is_kept_as_it_is(self):
        assert str(MissingExtraError("hf", "too old")).endswith("(too old)")
