"""The public surface is what `__all__` says, importing it is light, and every paper's files are registered."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tutelage

ROOT = Path(tutelage.__file__).parent
PACKAGES = sorted(".".join(path.relative_to(ROOT.parent).parts[:-1]) for path in ROOT.rglob("__init__.py"))
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
# These import names to fill a table, not to show them: COMMANDS and ZOO are how the names are reached.
TABLES = {"tutelage.cli", "tutelage.models.zoo"}
HEAVY = {"lightning_fabric", "datasets", "matplotlib", "sklearn", "tyro", "rich", "scipy", "pyarrow", "PIL"}
LIBRARY = "import tutelage.losses, tutelage.methods, tutelage.models, tutelage.data"


def in_ruffs_order(names):
    """RUF022: constants, then classes, then the rest, each in natural order."""

    def number(digits):  # with a leading zero it is a fraction: x025 < x05 < x1
        return float(f"0.{digits}" if digits[0] == "0" else digits)

    def key(name):
        kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
        parts = re.split(r"(\d+)", name)
        return kind, [(not part.isdigit(), number(part) if part.isdigit() else part) for part in parts]

    return sorted(names, key=key)


def defined(module):
    """Public names that a file defines or takes from its own package."""
    tree = ast.parse(Path(module.__file__).read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom) and node.module.startswith(module.__name__):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_shows_what_it_defines_in_order(name):
    module = importlib.import_module(name)
    names = module.__all__
    assert names == in_ruffs_order(names)
    assert len(set(names)) == len(names)
    public = {found for found in defined(module) if not found.startswith("_")}
    if name in TABLES:
        assert set(names) <= public
    else:
        assert set(names) - {"__version__"} == public


@pytest.mark.parametrize("name", MODULES)
def test_the_names_that_a_module_exports_exist_in_it_in_order(name):
    module = importlib.import_module(name)
    assert module.__all__ == in_ruffs_order(module.__all__)
    assert set(module.__all__) <= set(defined(module))


@pytest.mark.parametrize("name", PACKAGES + MODULES)
def test_every_public_name_is_explained(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, public


def files(folder):
    return {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__", "base"}


def test_every_file_of_a_method_is_in_the_dict_of_methods():
    from tutelage.methods import METHODS

    assert {config.__module__ for config in METHODS.values()} == {
        f"tutelage.methods.{name}" for name in files("methods")
    }
    assert set(METHODS) == files("methods")
    assert list(METHODS) == sorted(METHODS)


def test_every_file_of_a_loss_is_exported():
    from tutelage import losses

    assert {getattr(losses, name).__module__ for name in losses.__all__} == {
        f"tutelage.losses.{name}" for name in files("losses")
    }


def test_every_method_has_the_loss_of_its_name():
    # Mutual learning is KD from a peer, with IE-KD's losses or without: one of its own would be the same four lines.
    assert files("methods") - {"dml", "iedml"} <= files("losses")


def fresh(statement):
    """What a new interpreter says after a statement: seconds of its processor, and what was imported."""
    code = f"import sys, time, json\nt = time.process_time()\n{statement}\n"
    code += "print(json.dumps([time.process_time() - t, sorted(sys.modules)]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT.parent), "OMP_NUM_THREADS": "1"},
    )
    seconds, modules = json.loads(done.stdout)
    return seconds, set(modules)


@pytest.mark.slow
def test_importing_brings_in_nothing_heavy():
    # everything but the command line, and with it the four packages of the library
    assert fresh(f"{LIBRARY}, tutelage.engine, tutelage.report")[1] & HEAVY == set()


@pytest.mark.slow
def test_importing_takes_little_more_than_importing_torch():
    # processor time, the least of two: other programs on the machine do not count
    torch, ours = (min(fresh(statement)[0] for _ in range(2)) for statement in ("import torch", LIBRARY))
    assert ours <= 1.5 * torch
    assert "torch" not in fresh("import tutelage")[1]  # the package alone imports nothing
