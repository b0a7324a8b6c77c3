"""``tutelage evaluate``, ``export``, ``report`` and ``list``: they train nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from tutelage.data.protocols import PROTOCOLS
from tutelage.engine import EngineConfig, evaluate_network
from tutelage.errors import ConfigError, UnknownNameError
from tutelage.methods import METHODS, card_of
from tutelage.models import ZOO, load_network, save_network
from tutelage.recipes import RECIPES

__all__ = ["evaluate", "export", "report", "show"]

Rows = list[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure the accuracy of a stored network.

    Args:
        network: A run directory, or a .safetensors file with its card beside it.
        data: The images; by default those it was trained on.
        split: The test images, or a part of the training images as it is cut by default.
        engine: Where and how.
    """

    network: Positional[Path]
    data: str | None = None
    split: Literal["test", "validation", "train"] = "test"
    engine: EngineConfig = field(default_factory=EngineConfig)


def evaluate(args: Sequence[str]) -> None:
    """Carry out ``tutelage evaluate``."""
    asked = tyro.cli(Evaluate, args=args, prog="tutelage evaluate")
    facts = evaluate_network(asked.network, data=asked.data, split=asked.split, engine=asked.engine)
    print(json.dumps(facts, indent=1))


@dataclass(frozen=True, kw_only=True)
class Export:
    """Store the weights of a network for others: one .safetensors file and a JSON card that says what it is.

    Args:
        network: A run directory, or a .safetensors file with its card beside it.
        out: The .safetensors file to write.
        half: Store numbers as float16: half the size.
    """

    network: Positional[Path]
    out: Path
    half: bool = False


def export(args: Sequence[str]) -> None:
    """Carry out ``tutelage export``."""
    asked = tyro.cli(Export, args=args, prog="tutelage export")
    if asked.out.suffix != ".safetensors":
        raise ConfigError(f"weights are written to a .safetensors file, got {asked.out}: give it that ending")
    save_network(load_network(asked.network), asked.out, half=asked.half)
    print(f"{asked.out}: {asked.out.stat().st_size / 2**20:.2f} MiB")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write one self-contained HTML page about all runs below some directories.

    Args:
        runs: The directories.
        out: The page.
        title: Its heading.
        table: Print the table as Markdown as well.
        plots: A folder for each plot as an SVG file of its own.
    """

    runs: Positional[tuple[Path, ...]] = (Path("runs"),)
    out: Path = Path("runs/report.html")
    title: str = "Distillation report"
    table: bool = False
    plots: Path | None = None


def report(args: Sequence[str]) -> None:
    """Carry out ``tutelage report``."""
    from tutelage.report import markdown_table, write_page, write_plots

    asked = tyro.cli(Report, args=args, prog="tutelage report")
    print(write_page(list(asked.runs), asked.out, title=asked.title))
    if asked.plots is not None:
        print("\n".join(map(str, write_plots(list(asked.runs), asked.plots))))
    if asked.table:
        print(markdown_table(list(asked.runs)))


def _methods() -> Rows:
    fields = ("Paper", "Reads", "Labels", "Trains")
    return [("method", *fields), *((name, *(card_of(name)[key] for key in fields)) for name in METHODS)]


def _models() -> Rows:
    from torch import nn

    def weights(network: nn.Module) -> str:
        return f"{sum(p.numel() for p in network.parameters()):,}"

    return [
        ("model", "weights (100 classes)"),
        *((f"zoo:{name}", weights(make(100))) for name, make in ZOO.items()),
    ]


def _recipes() -> Rows:
    return [
        ("recipe", "what it is"),
        *((name, (make.__doc__ or "").strip()) for name, make in RECIPES.items()),
    ]


def _data() -> Rows:
    return [
        ("data", "what it is"),
        ("digits", "1,797 handwritten digits of 8 × 8 pixels that come with scikit-learn"),
        ("cifar10, cifar100", "Parquet files under $TUTELAGE_DATA/<name>/, else the Hugging Face hub"),
        ("folder:PATH", "one folder of images a class; PATH/train and PATH/test (or val) where they exist"),
        (
            "hf:NAME[:image:label]",
            "any image classification set of the Hugging Face hub, or a local folder of one",
        ),
    ]


def _protocols() -> Rows:
    return [
        ("protocol", "what it is"),
        *((name, (kind.__doc__ or "").strip().splitlines()[0]) for name, kind in PROTOCOLS.items()),
    ]


CATALOGUE: Mapping[str, Callable[[], Rows]] = {
    "methods": _methods,
    "models": _models,
    "recipes": _recipes,
    "protocols": _protocols,
    "data": _data,
}


@dataclass(frozen=True, kw_only=True)
class List:
    """Show what there is: methods, models, recipes, protocols and data sets.

    Args:
        what: methods, models, recipes, protocols, data, or all.
    """

    what: Positional[str] = "all"


def show(args: Sequence[str]) -> None:
    """Carry out ``tutelage list``."""
    from rich.console import Console
    from rich.table import Table

    asked = tyro.cli(List, args=args, prog="tutelage list")
    if asked.what not in (*CATALOGUE, "all"):
        raise UnknownNameError("list", asked.what, [*CATALOGUE, "all"])
    for title, rows in CATALOGUE.items():
        if asked.what in (title, "all"):
            header, *lines = rows()
            table = Table(*header, title=title, title_justify="left", title_style="bold")
            for line in lines:
                table.add_row(*line)
            Console().print(table)
