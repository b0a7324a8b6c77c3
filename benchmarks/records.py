"""The records of a grid in one small file: what it was, what was measured and what came out, without the weights.

    python benchmarks/records.py pack runs/cifar100 benchmarks/cifar100/records.zip
    python benchmarks/records.py unpack benchmarks/cifar100/records.zip runs/cifar100

`tutelage report` makes the tables of a card again from what was unpacked, and `tutelage compare --out` goes on with it:
what is finished there is not repeated. Equal runs give an equal file.
"""

import argparse
import zipfile
from pathlib import Path

KEPT = ("config.json", "metrics.jsonl", "result.json", "relations.json", "fewshot.json", "diverged.json")
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def pack(runs: Path, file: Path) -> int:
    ended = {path.parent for name in ("result.json", "fewshot.json", "diverged.json") for path in runs.rglob(name)}
    files = sorted(folder / name for folder in ended for name in KEPT if (folder / name).exists())
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(runs).as_posix(), LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return len(ended)


def unpack(file: Path, runs: Path) -> int:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not (runs / name).exists()]
        archive.extractall(runs, names)
    return len({Path(name).parent for name in names})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    given = parser.parse_args()
    count = (pack if given.what == "pack" else unpack)(given.source, given.target)
    print(f"{count} runs: {given.target}")


if __name__ == "__main__":
    main()
