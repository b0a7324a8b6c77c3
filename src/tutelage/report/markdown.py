"""The tables of the report as Markdown, for a README or a card."""

from collections.abc import Sequence

from tutelage.report.findings import baselines, differences, finding, repeats
from tutelage.report.groups import Group, groups_of
from tutelage.report.runs import Run
from tutelage.report.table import COLUMNS, Cell, group_title, table_of
from tutelage.report.wording import counted

__all__ = ["markdown"]

_LEGEND = (
    "± is half the width of the 95 % interval of the mean over n seeds (Student’s t), spread their standard "
    "deviation. Gains are in points, at the last epoch, paired by seed; ▲ ▼ mark those whose interval excludes 0, "
    "differences whose interval includes 0 are not called."
)


def markdown(runs: Sequence[Run]) -> str:
    """The table of each group under its title, then what the signs mean.

    Args:
        runs: Finished or not.

    Example:
        >>> markdown([Run(name="a", config={}, result=None)])
        '1 run is unfinished and not in the table.\\n'
    """
    groups = groups_of(runs)
    parts = [part for group in groups for part in _group(group)]
    if groups:
        parts.append(_LEGEND)
    unfinished = sum(not run.finished for run in runs)
    if unfinished:
        verb = "is" if unfinished == 1 else "are"
        parts.append(f"{counted(unfinished, 'run')} {verb} unfinished and not in the table.")
    return "\n\n".join(parts) + "\n"


def _group(group: Group) -> list[str]:
    table = table_of(group)
    rows = [["", *(COLUMNS[key] for key in table.columns)], [":--", *("--:" for _ in table.columns)]]
    for line in table.lines:
        name = _plain(line.label)
        rows.append([f"**{name}** (best)" if line.best else name, *(_cell(line.cells[key]) for key in table.columns)])
    notes = [*baselines(group), *differences(group), *filter(None, map(repeats, group.rows))]
    said = " ".join(filter(None, [finding(group, table.places), *notes]))
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return [f"**{_plain(group_title(group))}**", lines, *([_plain(said)] if said else [])]


def _cell(cell: Cell) -> str:
    return cell.text + {"": "", "better": " ▲", "worse": " ▼"}[cell.call]


def _plain(text: str) -> str:
    """A name that means nothing to Markdown or HTML."""
    plain = text.replace("\n", " ").replace("\r", " ").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|" else letter for letter in plain)
