"""Reports of runs: one self-contained HTML page, or the same tables as Markdown.

Reads run directories only: no network and no data set is needed, and torch is not imported.
"""

from tutelage.report.exports import write_tables
from tutelage.report.page import markdown_curve, markdown_table, write_page
from tutelage.report.plot_files import write_plots
from tutelage.report.runs import Run, load_runs

__all__ = ["Run", "load_runs", "markdown_curve", "markdown_table", "write_page", "write_plots", "write_tables"]
