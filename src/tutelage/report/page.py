"""The report: one HTML file that needs nothing but itself."""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from tutelage.report.calls import CallsChart, charts_of
from tutelage.report.calls_plot import calls_plot, calls_styles
from tutelage.report.calls_table import CALLS_LEGEND, calls_finding, calls_notes, calls_tables, calls_title
from tutelage.report.chart import WIDTHS
from tutelage.report.classes import class_lines, class_reach, classes_legend, classes_strip
from tutelage.report.cost_plot import cost_plot
from tutelage.report.costs import keeps_answers
from tutelage.report.findings import finding, notes, summary
from tutelage.report.groups import Group, groups_of
from tutelage.report.markdown import markdown, markdown_calls
from tutelage.report.noise_plot import NOISE_LEGEND, noise_plots
from tutelage.report.overlap import OVERLAP_LEGEND, overlap_charts, overlap_plot
from tutelage.report.plot_files import plot_style
from tutelage.report.plots import learning_curves, loss_terms, seed_range, seeds_strip, styles_of
from tutelage.report.relations_table import RELATIONS_LEGEND, conditions_title, relations_strips, relations_tables
from tutelage.report.runs import Run, load_runs
from tutelage.report.sources import sources_of
from tutelage.report.table import COLUMNS, Line, group_title, table_of
from tutelage.report.watched import WATCHED_LEGEND, watched_panels
from tutelage.report.wording import NOTHING, counted, percent
from tutelage.rundir import saving

__all__ = ["markdown_curve", "markdown_table", "write_page"]

Places = Path | str | Sequence[Path | str]


def write_page(runs: Places, out: Path | str, *, title: str = "Distillation report") -> Path:
    """Write a report of all runs below a directory.

    The file holds its style and its plots, loads nothing, and is the same for the same runs.

    Args:
        runs: A directory, or several, that hold run directories at any depth.
        out: The HTML file; its folder is made.
        title: The heading.

    Returns:
        ``out``.

    Raises:
        DataError: if there is no run, or a file of a run is damaged.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text(json.dumps({"format": "tutelage-run/1", "seed": 0}))
        >>> page = write_page(folder, folder / "report.html")
        >>> "1 run is unfinished" in page.read_text(encoding="utf-8")
        True
    """
    found = load_runs(runs)
    text = _render(found, title)
    path = Path(out)
    with saving(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return path


def markdown_table(runs: Places) -> str:
    """The tables of the report as Markdown, for a README or a card.

    Args:
        runs: A directory, or several, that hold run directories at any depth.

    Raises:
        DataError: if there is no run, or a file of a run is damaged.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text(json.dumps({"format": "tutelage-run/1", "seed": 0}))
        >>> markdown_table(folder)
        '1 run is unfinished and not in the table.\\n'
    """
    return markdown(load_runs(runs))


def markdown_curve(runs: Places) -> str:
    """Accuracy against teacher calls as Markdown: accuracy, gain over KD, and calls needed to equal KD.

    Args:
        runs: A directory, or several, that hold run directories at any depth; those under the protocol
            few-teacher-calls are shown, and without any of them the tables are those of :func:`markdown_table`.

    Raises:
        DataError: if there is no run, or a file of a run is damaged.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text(json.dumps({"format": "tutelage-run/1", "seed": 0}))
        >>> markdown_curve(folder)
        '1 run is unfinished and not in the table.\\n'
    """
    return markdown_calls(load_runs(runs))


def _render(runs: Sequence[Run], title: str) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page, script = (
        files("tutelage.report").joinpath(f"page.{end}").read_text(encoding="utf-8") for end in ("html", "js")
    )
    template = environment.from_string(page)
    groups = groups_of(runs)
    return template.render(
        title=title,
        summary=summary(runs, groups),
        charts=[_chart(chart) for chart in charts_of(groups) if len(chart.sizes) > 1],
        calls_legend=CALLS_LEGEND,
        overlaps=[
            (chart.title, [(name, overlap_plot(chart, width)) for name, width in WIDTHS])
            for chart in overlap_charts(groups)
        ],
        overlap_legend=OVERLAP_LEGEND,
        groups=[_group(group) for group in groups],
        relations=[each for group in groups if (each := _relations(group))["tables"]],
        relations_legend=RELATIONS_LEGEND,
        noise_legend=NOISE_LEGEND,
        watched_legend=WATCHED_LEGEND,
        unfinished=[_unfinished(run) for run in runs if not run.finished],
        headings=COLUMNS,
        plot_style=plot_style(),
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        period=_period(runs),
    )


def _chart(chart: CallsChart) -> dict[str, Any]:
    return {
        "title": calls_title(chart),
        "finding": calls_finding(chart),
        "curves": [(name, calls_plot(chart, width)) for name, width in WIDTHS],
        "columns": [counted(calls, "call") for calls in chart.sizes],
        "tables": calls_tables(chart),
        "styles": calls_styles(chart),
        "notes": calls_notes(chart),
    }


def _group(group: Group) -> dict[str, Any]:
    table = table_of(group)
    styles = styles_of(group.rows)
    low, high = seed_range(group)
    several = sum(row.last.count for row in group.rows) > 1
    panels = [
        {"label": row.label, "stage": stage, "plot": plot}
        for row in group.rows
        for stage, plot in loss_terms(row, styles[row.label])
    ]
    stages = {panel["stage"] for panel in panels}
    return {
        "title": group_title(group),
        "finding": finding(group, table.places),
        "table": table,
        "lines": [_line(line, group, styles) for line in table.lines],
        "range": (percent(low, 1), percent(high, 1)) if several else None,
        "notes": notes(group),
        "costs": [(name, cost_plot(group, width, by="seconds")) for name, width in WIDTHS],
        "calls": [(name, _calls(group, width)) for name, width in WIDTHS],
        "curves": [(name, learning_curves(group, width)) for name, width in WIDTHS],
        "watched": watched_panels(group),
        "folded": group.protocol is not None,  # one of several numbers of calls: their plots of terms are many
        "panels": [panel | {"stage": panel["stage"] if len(stages) > 1 else ""} for panel in panels],
        **_classes(group, styles),
        "sources": sources_of(group, table.places),
    }


def _calls(group: Group, width: float) -> str:
    """Where runs share a cache of answers, what each sent says who was first, not what it needs."""
    return "" if keeps_answers(group) else cost_plot(group, width, by="calls")


def _classes(group: Group, styles: dict[str, str]) -> dict[str, Any]:
    lines = class_lines(group)
    reach = class_reach(lines)
    return {
        "classes": [
            {
                "label": line.label,
                "style": styles[line.label],
                "strip": classes_strip(line, reach, styles[line.label]),
                "counts": [*line.moved, *line.called],
                "extremes": line.extremes,
            }
            for line in lines
        ],
        "classes_reach": percent(reach, 1),
        "classes_legend": classes_legend(lines),
    }


def _relations(group: Group) -> dict[str, Any]:
    return {
        "title": group_title(group),
        "tables": relations_tables(group),
        "styles": styles_of(group.rows),
        "noise": [(conditions_title(conditions), plots) for conditions, plots in noise_plots(group)],
        "strips": relations_strips(group),
    }


def _line(line: Line, group: Group, styles: dict[str, str]) -> dict[str, Any]:
    style = styles[line.label] if line.row is not None else "teacher"
    strip = seeds_strip(line.row, group, style) if line.row is not None else ""
    number = 1 + group.rows.index(line.row) if line.row is not None else 0
    return {"line": line, "style": style, "strip": strip, "number": number}


def _unfinished(run: Run) -> dict[str, str]:
    method = run.config.get("method")
    name = method.get("name", NOTHING) if isinstance(method, dict) else "student alone"
    last = run.validations[-1] if run.validations else None
    reached = f"epoch {last.epoch:g}, validation {percent(last.accuracy, 2)} %" if last else "no validation yet"
    reached += f"; it diverged: {run.diverged}" if run.diverged else ""
    return {
        "run": run.name,
        "method": str(name) if run.config else NOTHING,
        "seed": str(run.config.get("seed", NOTHING)),
        "reached": reached,
    }


def _period(runs: Sequence[Run]) -> str:
    """First start and last end, as days."""
    starts = [run.result.facts.get("started", "")[:10] for run in runs if run.result is not None]
    ends = [run.result.facts.get("finished", "")[:10] for run in runs if run.result is not None]
    days = [min(filter(None, starts), default=""), max(filter(None, ends), default="")]
    return " to ".join(dict.fromkeys(filter(None, days)))
