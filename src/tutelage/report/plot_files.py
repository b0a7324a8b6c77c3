"""The plots of a page as files of their own, for a README or a paper."""

import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from tutelage.report.calls import charts_of
from tutelage.report.calls_plot import calls_plot
from tutelage.report.chart import WIDTHS
from tutelage.report.cost_plot import cost_plot
from tutelage.report.groups import groups_of
from tutelage.report.noise_plot import noise_plots
from tutelage.report.overlap import overlap_charts, overlap_plot
from tutelage.report.plots import learning_curves
from tutelage.report.runs import Run, load_runs
from tutelage.rundir import saving

__all__ = ["plot_style", "standalone", "write_plots"]

_PAGE = dict(WIDTHS)["wide"]
_FONT = 'svg { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }\n'


def plot_style() -> str:
    """The style sheet that all plots share: colours follow the light or dark scheme of the reader."""
    return files("tutelage.report").joinpath("plots.css").read_text(encoding="utf-8")


def write_plots(runs: Path | str | Sequence[Path | str], folder: Path) -> list[Path]:
    """Write each plot about all runs below a directory as SVG.

    Args:
        runs: A directory, or several, that hold run directories at any depth.
        folder: Of the files; it is made. ``overlap-1.svg`` is the gain by classes that teacher and student share,
            ``calls-1`` accuracy by teacher calls, and of each table ``curves-1``, ``cost-1`` and ``noise-1``.

    Returns:
        Their paths.

    Raises:
        DataError: if there is no run, or a file of a run is damaged.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text(json.dumps({"format": "tutelage-run/1", "seed": 0}))
        >>> write_plots(folder, folder)
        []
    """
    paths = []
    for name, plot in _plots(load_runs(runs)):
        if plot:
            paths.append(folder / f"{name}.svg")
            with saving(paths[-1]) as scratch:
                scratch.write_text(standalone(plot), encoding="utf-8")
    return paths


def standalone(plot: str) -> str:
    """A plot with all that a file needs beside it.

    Args:
        plot: An SVG element as the page has it.

    Example:
        >>> standalone('<svg class="plot" viewBox="0 0 20 10"><g></g></svg>').split("<style>")[0]
        '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10" class="plot" viewBox="0 0 20 10">'
    """
    size = re.compile(r'<svg (?P<rest>[^>]*viewBox="0 0 (?P<width>[\d.]+) (?P<height>[\d.]+)"[^>]*)>')
    style = f"<style>\n{plot_style()}{_FONT}</style>".replace("\\", r"\\")
    head = r'<svg xmlns="http://www.w3.org/2000/svg" width="\g<width>" height="\g<height>" \g<rest>>'
    return size.sub(head + style, plot, count=1) + "\n"


def _plots(runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    groups = groups_of(runs)
    for number, overlap in enumerate(overlap_charts(groups), start=1):
        yield f"overlap-{number}", overlap_plot(overlap, _PAGE)
    for number, calls in enumerate(charts_of(groups), start=1):
        yield f"calls-{number}", calls_plot(calls, _PAGE)
    for number, group in enumerate(groups, start=1):
        yield f"curves-{number}", learning_curves(group, _PAGE)
        yield f"cost-{number}", cost_plot(group, _PAGE, by="seconds")
        for _, ((_, wide), *_) in noise_plots(group):
            yield f"noise-{number}", wide
