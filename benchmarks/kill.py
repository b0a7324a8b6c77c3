"""Does a killed and resumed run equal one that was never killed? Bit for bit, many times.

    python benchmarks/kill.py --kills 20 --methods all --seed 0

For every method (and for dropout, gradient accumulation, two stages, bf16 and two ranks) a run on digits is sent
SIGKILL at random moments: a random step plus a random wait, so that it hits training, validation and the writing of
checkpoints alike. It is carried on with `tutelage resume` after each, and in the end its weights (last and best),
metrics, accuracies, steps and teacher calls are compared with those of a run left in peace. A run is killed up to
five times; as many runs are made as the kills need. One line a method says how many kills there were, at how many
distinct steps, how many fell before the first and after the last step, and whether all runs were equal.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engine"))

from nursery import KILLED, STAGE, Nursery, cases, configuration, differences

A_RUN = 5
PAUSES = (0.0, 0.03, 0.3)
"""Longest waits after the chosen step, in seconds: a step takes about 0.003, a checkpoint 0.02, the end 0.2."""
SAVES = (0.0, 0.05, 60.0)
"""Seconds between checkpoints: after every step, now and then, hardly ever."""


class Case:
    """One method and its many deaths.

    Args:
        nursery: Where runs live and die.
        settings: Of the run.
        folder: For its runs and the teacher.
        rng: Chooses the moments.
    """

    def __init__(self, nursery: Nursery, settings: dict[str, Any], folder: Path, rng: random.Random) -> None:
        self.nursery, self.settings, self.folder, self.rng = nursery, settings, folder, rng
        self.ranks = settings.get("devices", 1)
        self.moments: list[int] = []
        self.unequal: list[str] = []
        self.peaceful = folder / "peaceful"
        self.last = self._live(self.peaceful, do="start", config=self._config(0.0))["moment"]

    def go_on(self, number: int, kills: int) -> None:
        """One run that is killed so many times, and then ends."""
        path = self.folder / str(number)
        life = {"do": "start", "config": self._config(self.rng.choice(SAVES))}
        for moment in sorted(self.rng.choices(self._all_moments(), k=kills)):
            if life["do"] == "resume" and self.rng.random() < 1 / 8:
                moment = 0  # while it starts up
            pause = self.rng.uniform(0, self.rng.choice(PAUSES))
            ended = self._live(path, **life, kill=[moment, pause])
            if KILLED not in ended["status"]:
                break  # it was faster
            self.moments.append(ended["moment"])
            if (path / "result.json").exists():
                break  # it was killed when all was done
            life = {"do": "resume"}
        else:
            self._live(path, **life)
        self.unequal += [f"run {number}: {name}" for name in differences(self.peaceful, path)]

    def _all_moments(self) -> list[int]:
        stages, steps = divmod(self.last, STAGE)
        return [STAGE * stage + step for stage in range(stages + 1) for step in range(1, steps + 1)]

    def _config(self, save_every: float) -> dict[str, Any]:
        return configuration(teacher=self.folder.parent / "teacher", save_every=save_every, **self.settings)

    def _live(self, path: Path, **order: Any) -> dict[str, Any]:
        # A cache of its own: else a run would find there what a stage of another one made.
        own = {"TUTELAGE_CACHE": str(path.with_name(f"cache of {path.name}"))}
        ended = self.nursery.live(path=path, ranks=self.ranks, environment=own, **order)
        # Where one of several ranks dies first, the others end by an error of the connection.
        if any(status not in (0, KILLED) for status in ended["status"]) and KILLED not in ended["status"]:
            raise SystemExit(f"{path} failed, which nobody asked for:\n{ended['log']}")
        return ended


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each method")
    parser.add_argument("--methods", nargs="+", default=["all"], help=f"all, or some of {', '.join(cases())}")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    chosen = list(cases()) if asked.methods == ["all"] else asked.methods
    nursery, failed = Nursery(), False
    print(f"{'method':12}{'kills':>6}{'runs':>6}{'steps hit':>11}{'in start-up':>13}{'at the end':>12}  bit-equal")
    with tempfile.TemporaryDirectory() as folder:
        teacher = configuration(model="zoo:digits_large", epochs=1, lr=0.1)
        nursery.live(do="start", path=Path(folder, "teacher"), config=teacher)
        for name in chosen:
            path, number = Path(folder, name), 0
            path.mkdir()
            case = Case(nursery, cases()[name], path, random.Random(f"{asked.seed} {name}"))
            while len(case.moments) < asked.kills:
                case.go_on(number, min(A_RUN, asked.kills - len(case.moments)))
                number += 1
            early, late = case.moments.count(0), case.moments.count(case.last)
            verdict = "yes" if not case.unequal else f"NO: {', '.join(case.unequal)}"
            figures = f"{len(case.moments):6}{number:6}{len(set(case.moments)):11}{early:13}{late:12}"
            print(f"{name:12}{figures}  {verdict}", flush=True)
            failed |= bool(case.unequal)
    nursery.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
