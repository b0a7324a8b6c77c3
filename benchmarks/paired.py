"""The difference between two rows of a table, paired by seed.

    python benchmarks/paired.py runs/compare ickd "ickd (retrieval=random)" "ickd (positive=0)"

Each further row less the first: mean, half the 95 % interval by Student's t, and the p-value of the paired t-test.
Names are those of the table that `tutelage report RUNS --table` prints.
"""

import argparse

from tutelage.report import load_runs
from tutelage.report.groups import groups_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs")
    parser.add_argument("row")
    parser.add_argument("others", nargs="+")
    given = parser.parse_args()
    for group in groups_of(load_runs(given.runs)):
        rows = {row.label: row for row in group.rows}
        for name in (given.row, *given.others):
            if name not in rows:
                parser.error(f"no row {name!r} in the table of {group.student}: it has {', '.join(sorted(rows))}")
        for name in given.others:
            gain = rows[name].gain_over(rows[given.row])
            if gain is None or gain.half_width is None or gain.p_value is None:
                print(f"{name} − {given.row}: no two seeds in common")
                continue
            half, p = 100 * gain.half_width, gain.p_value
            print(f"{name} − {given.row}: {100 * gain.mean:+.2f} ± {half:.2f} points, {gain.count} seeds, p = {p:.3f}")


if __name__ == "__main__":
    main()
