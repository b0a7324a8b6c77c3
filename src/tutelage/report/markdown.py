"""The tables of the report as Markdown, for a README or a card."""

from collections.abc import Sequence

from tutelage.report.calls import CallsChart, charts_of
from tutelage.report.calls_table import CALLS_LEGEND, calls_finding, calls_notes, calls_tables, calls_title
from tutelage.report.findings import finding, left_out, notes
from tutelage.report.groups import Group, groups_of
from tutelage.report.runs import Run
from tutelage.report.table import COLUMNS, group_title, table_of, told_cell
from tutelage.report.wording import counted, piped

__all__ = ["markdown", "markdown_calls"]

_LEGEND = (
    "± is half the width of the 95 % interval of the mean over n seeds (Student’s t), spread their standard "
    "deviation. Gains are in points, at the last epoch, paired by seed; ▲ ▼ mark those whose interval excludes 0, "
    "differences whose interval includes 0 are not called. Each interval stands for itself: of twenty true differences "
    "of 0, about one is called by chance."
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
    return "\n\n".join([*parts, *map(_plain, left_out(runs, "not in the table"))]) + "\n"


def markdown_calls(runs: Sequence[Run]) -> str:
    """Accuracy against teacher calls: a column for each number of calls, then what the signs mean.

    Args:
        runs: Finished or not; without any under a protocol of few calls, the tables are those of :func:`markdown`.

    Example:
        >>> markdown_calls([Run(name="a", config={}, result=None)])
        '1 run is unfinished and not in the table.\\n'
    """
    charts = charts_of(groups_of(runs))
    if not charts:
        return markdown(runs)
    parts = [part for chart in charts for part in _chart(chart)]
    return "\n\n".join([*parts, CALLS_LEGEND, *map(_plain, left_out(runs, "not in the table"))]) + "\n"


def _chart(chart: CallsChart) -> list[str]:
    parts = [f"**{_plain(calls_title(chart))}**"]
    for table in calls_tables(chart):
        rows = [[_plain(line.label), *map(told_cell, cells)] for line, cells in table.lines]
        parts.append(piped([table.title, *(counted(n, "call") for n in chart.sizes)], rows))
    said = " ".join(filter(None, [calls_finding(chart), *calls_notes(chart)]))
    return [*parts, _plain(said)]


def _group(group: Group) -> list[str]:
    table = table_of(group)
    rows = []
    for line in table.lines:
        name = _plain(line.label)
        rows.append(
            [f"**{name}** (best)" if line.best else name, *(told_cell(line.cells[key]) for key in table.columns)]
        )
    said = " ".join(filter(None, [finding(group, table.places), *notes(group)]))
    lines = piped(["", *(COLUMNS[key] for key in table.columns)], rows)
    return [f"**{_plain(group_title(group))}**", lines, *([_plain(said)] if said else [])]


def _plain(text: str) -> str:
    """A name that means nothing to Markdown or HTML."""
    plain = text.replace("\n", " ").replace("\r", " ").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|" else letter for letter in plain)
