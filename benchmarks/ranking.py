"""Does a table rank methods as the literature does? Kendall's τ between their gains and the published ones.

    python benchmarks/ranking.py runs/compare
    python benchmarks/ranking.py runs/compare --without ft fitnet ab

Published are the mean gains over labels alone of the six pairs of one family in the README of
https://github.com/HobbitLong/RepDistiller@b84f547 (FSP without the pair that it lacks). Compared are the methods that
both have; of a method with several rows the one with the default settings, which its name alone stands for.
"""

import argparse
import statistics

from tutelage.methods import METHODS
from tutelage.report import load_runs
from tutelage.report.groups import Group, Row, groups_of
from tutelage.report.results import ALONE

# wrn_40_2 → wrn_16_2 and wrn_40_1, resnet56 → 20, resnet110 → 20 and 32, resnet32x4 → 8x4
LABELS_ALONE = (73.26, 71.98, 69.06, 69.06, 71.14, 72.50)
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "kd": (74.92, 73.54, 70.66, 70.67, 73.08, 73.33),
    "fitnet": (73.58, 72.24, 69.21, 68.99, 71.06, 73.50),
    "at": (74.08, 72.77, 70.55, 70.22, 72.31, 73.44),
    "sp": (73.83, 72.43, 69.67, 70.04, 72.69, 72.94),
    "cc": (73.56, 72.21, 69.63, 69.48, 71.48, 72.97),
    "vid": (74.11, 73.30, 70.38, 70.16, 72.61, 73.09),
    "rkd": (73.35, 72.22, 69.61, 69.25, 71.82, 71.90),
    "pkt": (74.54, 73.45, 70.34, 70.25, 72.61, 73.64),
    "ab": (72.50, 72.38, 69.47, 69.53, 70.98, 73.17),
    "ft": (73.25, 71.59, 69.84, 70.22, 72.37, 72.86),
    "fsp": (72.91, None, 69.95, 70.11, 71.89, 72.62),
    "nst": (73.68, 72.24, 69.60, 69.53, 71.96, 73.30),
    "crd": (75.48, 74.14, 71.16, 71.46, 73.48, 75.51),
}


def published(method: str) -> float:
    pairs = zip(PUBLISHED[method], LABELS_ALONE, strict=True)
    return statistics.fmean(taught - alone for taught, alone in pairs if taught is not None)


def by_default(group: Group, method: str) -> Row | None:
    """The row of the method whose settings are those of its config."""
    settings = METHODS[method]()
    for row in group.rows:
        own = {key.removeprefix("method."): value for key, value in row.settings.items() if key.startswith("method.")}
        told = {name: getattr(settings, name) for name in own if hasattr(settings, name)}
        if row.method == method and all(_same(own[name], value) for name, value in told.items()):
            return row
    return None


def _same(text: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text == (str(value).lower() if isinstance(value, bool) else str(value))
    return float(text) == float(value)


def main() -> None:
    from scipy.stats import kendalltau

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs")
    parser.add_argument("--without", nargs="+", default=(), choices=PUBLISHED, metavar="METHOD")
    given = parser.parse_args()
    for group in groups_of(load_runs(given.runs)):
        names = [name for name in PUBLISHED if name not in given.without]
        found = {name: row for name in names if (row := by_default(group, name)) is not None}
        gains = {name: row.gain_over(group.baseline(row, ALONE)) for name, row in found.items()}
        known = {name: (100 * gain.mean, published(name)) for name, gain in gains.items() if gain is not None}
        if len(known) < 3:
            continue
        print(f"{group.student} taught by {group.teacher}\n| method | gain here | published |\n| :-- | --: | --: |")
        for name, (ours, theirs) in sorted(known.items(), key=lambda item: -item[1][0]):
            print(f"| {name} | {ours:+.2f} | {theirs:+.2f} |")
        tau = kendalltau(*zip(*known.values(), strict=True))
        print(f"Kendall's τ {tau.statistic:.2f}, p = {tau.pvalue:.3f}, {len(known)} methods")


if __name__ == "__main__":
    main()
