"""The command line, one module for each kind of command; tyro is imported in this package only."""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tutelage import __version__
from tutelage.cli.answers import cache, serve_teacher
from tutelage.cli.demo import demo
from tutelage.cli.fewshot import fewshot
from tutelage.cli.grids import compare, curve
from tutelage.cli.look import evaluate, export, report, show
from tutelage.cli.relations import related
from tutelage.cli.train import carry_on, distill, teach
from tutelage.errors import Interrupted, TutelageError, UnknownNameError

__all__ = ["main"]

COMMANDS: Mapping[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "demo": (demo, "a teacher, every method and a page on handwritten digits, in minutes"),
    "teach": (teach, "train a network with labels alone"),
    "distill": (distill, "distil a teacher into a student"),
    "resume": (carry_on, "go on with a run that was stopped"),
    "compare": (compare, "a table: several methods and seeds on pairs of teacher and student"),
    "curve": (curve, "accuracy against teacher calls, for several methods"),
    "cache": (cache, "answers of teachers: fill, verify, stats, merge, prune, ledger"),
    "serve-teacher": (serve_teacher, "let a stored network answer over HTTP"),
    "evaluate": (evaluate, "measure the accuracy of a stored network"),
    "relate": (related, "how samples relate for a student and its teacher: neighbours, CKA, calibration"),
    "fewshot": (fewshot, "few-shot episodes: how well a stored network tells new classes apart"),
    "export": (export, "store a network's weights for others, at half precision if wished"),
    "report": (report, "write one HTML page about many runs"),
    "list": (show, "methods, models, recipes and data sets"),
}


def _help() -> str:
    lines = [f"  tutelage {name:13} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "tutelage: knowledge distillation by how samples relate",
            "",
            *lines,
            "",
            "`tutelage COMMAND --help` shows the options of a command; --debug adds the traceback to an error.",
        ]
    )


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; errors of the user's making are one line and exit code 2, a stopped run has 130.

    Args:
        args: The words after ``tutelage``; by default those of the process.
    """
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return
    if words[0] == "--version":
        print(f"tutelage {__version__}")
        return
    warnings.filterwarnings("ignore", module="lightning_fabric")
    sys.path.append(str(Path.cwd()))  # so that python:my_net:build finds the user's file
    try:
        if words[0] not in COMMANDS:
            raise UnknownNameError("command", words[0], COMMANDS)
        COMMANDS[words[0]][0](words[1:])
    except (TutelageError, OSError, KeyboardInterrupt) as error:
        if debug:
            raise
        print(f"tutelage: {_told(error)}", file=sys.stderr)
        # 130 is what a shell reports for a program that Ctrl-C ended.
        sys.exit(130 if isinstance(error, KeyboardInterrupt | Interrupted) else 2)


def _told(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "stopped; a run that had begun goes on with `tutelage resume RUN`"
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot read or write {error.filename}: {error.strerror}"
    return str(error)
