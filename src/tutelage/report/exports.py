"""The tables of a report as files: Markdown for a README, CSV for other programs, LaTeX for a paper."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from tutelage.report.groups import Group, Row, groups_of
from tutelage.report.markdown import markdown
from tutelage.report.published import published
from tutelage.report.results import ALONE
from tutelage.report.runs import Run, load_runs
from tutelage.report.statistics import Estimate
from tutelage.report.table import COLUMNS, JUDGES, group_title, table_of, told_cell
from tutelage.rundir import saving

__all__ = ["comma_separated", "latex", "write_tables"]

_CSV = (
    *("data", "teacher", "student", "calls_allowed", "method", "settings", "n", "seeds"),
    *("test_last", "test_last_half_width", "test_best", "test_best_half_width"),
    "published",
    *(f"{name}{ending}" for name in JUDGES for ending in ("", "_half_width")),
    *("gain_over_alone", "gain_over_alone_half_width", "gain_over_alone_p", "gain_over_alone_p_holm"),
    *("gain_over_kd", "gain_over_kd_half_width", "gain_over_kd_p", "gain_over_kd_p_holm"),
    *("epochs", "parameters", "images_per_second", "teacher_calls", "seconds", "memory_bytes"),
)

_GAINS = {"gain_over_alone": ALONE, "gain_over_kd": "kd"}
_LATEX = frozenset(
    {"last", "published", "best", "over_alone", "over_kd", *JUDGES, "epochs", "calls", "seconds", "memory"}
)

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "\N{NO-BREAK SPACE}": "~",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def write_tables(runs: Path | str | Sequence[Path | str], folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.csv`` and ``table.tex`` about all runs below a directory.

    Args:
        runs: A directory, or several, that hold run directories at any depth.
        folder: Of the three files; it is made.

    Returns:
        Their paths.

    Raises:
        DataError: if there is no run, or a file of a run is damaged.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text(json.dumps({"format": "tutelage-run/1", "seed": 0}))
        >>> [path.name for path in write_tables(folder, folder)]
        ['table.md', 'table.csv', 'table.tex']
    """
    found = load_runs(runs)
    texts = {"md": markdown(found), "csv": comma_separated(found), "tex": latex(found)}
    paths = [folder / f"table.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with saving(path) as scratch:
            scratch.write_text(text, encoding="utf-8")
    return paths


def comma_separated(runs: Sequence[Run]) -> str:
    """One line a row of the tables; accuracies and gains are shares, with half the width of the 95 % interval.

    Beside a gain stand the p-value of its paired t-test and that by Holm's correction for the rows of the table.

    Example:
        >>> comma_separated([]).split(",")[:3]
        ['data', 'teacher', 'student']
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV, lineterminator="\n")
    writer.writeheader()
    for group in groups_of(runs):
        p_values = {method: group.p_values_over(method) for method in _GAINS.values()}
        for row in group.rows:
            chances = {name: p_values[method].get(row.label) for name, method in _GAINS.items()}
            writer.writerow(_record(row, group) | _chances(chances))
    return out.getvalue()


def _record(row: Row, group: Group) -> dict[str, object]:
    teachers = [result.teacher for result in row.results if result.teacher is not None]
    record: dict[str, object] = {
        "data": group.data,
        "teacher": group.teacher,
        "student": group.student,
        "calls_allowed": group.protocol.calls if group.protocol else "",
        "method": row.method,
        "settings": "; ".join(f"{name}={value}" for name, value in row.settings.items() if name.startswith("method.")),
        "n": row.last.count,
        "seeds": " ".join(map(str, row.by_seed())),
        "epochs": row.mean(lambda result: result.epochs),
        "parameters": group.parameters,
        "images_per_second": row.mean(lambda result: result.images_per_second),
        "teacher_calls": sum(teacher.calls for teacher in teachers) / len(teachers) if teachers else 0,
        "seconds": row.mean(lambda result: result.seconds),
        "published": _or_empty(published(row, group)),
        "memory_bytes": _or_empty(row.memory()),
    }
    estimates = {
        "test_last": row.last,
        "test_best": row.best,
        **{name: row.judged(name) for name in JUDGES},
        **{name: row.gain_over(group.baseline(row, method)) for name, method in _GAINS.items()},
    }
    for name, estimate in estimates.items():
        record |= _numbers(name, estimate)
    return record


def _numbers(name: str, estimate: Estimate | None) -> dict[str, object]:
    if estimate is None:
        return {name: "", f"{name}_half_width": ""}
    return {name: estimate.mean, f"{name}_half_width": _or_empty(estimate.half_width)}


def _chances(p_values: Mapping[str, tuple[float, float] | None]) -> dict[str, object]:
    known = {name: pair or ("", "") for name, pair in p_values.items()}
    return {f"{name}_{key}": p for name, pair in known.items() for key, p in zip(("p", "p_holm"), pair, strict=True)}


def _or_empty(value: float | None) -> object:
    return "" if value is None else value


def latex(runs: Sequence[Run]) -> str:
    r"""One ``tabular`` a group, for ``booktabs`` and ``amssymb``; columns that a paper has no room for are left out.

    Example:
        >>> latex([])
        '% needs \\usepackage{booktabs,amssymb}\n'
    """
    return "\n".join([r"% needs \usepackage{booktabs,amssymb}", *map(_tabular, groups_of(runs))]) + "\n"


def _tabular(group: Group) -> str:
    table = table_of(group)
    keys = [key for key in table.columns if key in _LATEX]
    lines = [
        f"% {group_title(group)}",
        rf"\begin{{tabular}}{{l{'r' * len(keys)}}}",
        r"\toprule",
        _row(["", *(_escaped(COLUMNS[key]) for key in keys)]),
        r"\midrule",
    ]
    for line in table.lines:
        name = _escaped(line.label)
        told = (_escaped(told_cell(line.cells[key])) for key in keys)
        lines.append(_row([rf"\textbf{{{name}}}" if line.best else name, *told]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in text)
