"""``tutelage fewshot``: how well a stored network tells new classes apart from a few images of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from tutelage.engine import EngineConfig
from tutelage.engine.episode_heads import Tuning
from tutelage.engine.fewshot import FEWSHOT, FewShotConfig, measure_episodes

__all__ = ["fewshot"]


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """Measure a stored network in few-shot episodes, and keep it in fewshot.json.

    Every classifier sees the same episodes; the intervals are those of the mean over episodes, 95 %, Student's t.

    Args:
        data: digits, cifar10, cifar100, folder:PATH or hf:NAME[:image:label].
        network: A run directory, or a .safetensors file with its card beside it.
        teacher: Another one: its frozen embedding is measured beside, and the classifier refilled learns from it.
        ways: Classes of an episode.
        shots: Labelled images of each; a column of the table for each number.
        queries: Images of each class whose class is to be told.
        episodes: How many.
        seed: Which ones.
        classes: Those that episodes draw from: positions (80:100), names joined by commas, or a file of names
            (cifar_fs.json:test); by default all of the data.
        split: Whose images: the test images, the training images, or all, as CIFAR-FS has it.
        classifiers: ncm (cosine to class means), protonet, logistic and head on the frozen embedding; finetune and
            refilled tune the network in each episode, which takes long.
        tuning: How those that train do so.
        out: The folder of fewshot.json; by default that of the network.
        engine: Where and how.
    """

    data: Positional[str]
    network: Path
    teacher: Path | None = None
    ways: int = 5
    shots: tuple[int, ...] = (1, 5)
    queries: int = 15
    episodes: int = 600
    seed: int = 0
    classes: str | None = None
    split: Literal["test", "train", "all"] = "test"
    classifiers: tuple[str, ...] = ("ncm", "protonet", "logistic")
    tuning: Tuning = field(default_factory=Tuning)
    out: Path | None = None
    engine: EngineConfig = field(default_factory=lambda: EngineConfig(precision="32"))


def fewshot(args: Sequence[str]) -> None:
    """Carry out ``tutelage fewshot``."""
    from tutelage.report.fewshot import fewshot_table

    asked = tyro.cli(FewShot, args=args, prog="tutelage fewshot")
    config = FewShotConfig(
        ways=asked.ways,
        shots=asked.shots,
        queries=asked.queries,
        episodes=asked.episodes,
        seed=asked.seed,
        classes=asked.classes,
        split=asked.split,
        classifiers=asked.classifiers,
        tuning=asked.tuning,
    )
    out = asked.out or (asked.network if asked.network.is_dir() else asked.network.parent)
    found = measure_episodes(asked.network, asked.data, config, teacher=asked.teacher, engine=asked.engine, out=out)
    print(fewshot_table(found), end="")
    print(f"\n{out / FEWSHOT}")
