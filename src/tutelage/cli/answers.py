"""``tutelage cache …`` and ``tutelage serve-teacher``: a teacher's answers, bought, checked, counted and given."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from tutelage.cli.caches import merge_caches, prune_caches, show_ledgers, stats
from tutelage.cli.flags import distilled, teacher_of
from tutelage.data import open_dataset
from tutelage.engine import EngineConfig, HttpConfig
from tutelage.engine.answers import serve_network, trained_on, verify_answers
from tutelage.engine.filling import fill_answers
from tutelage.engine.stopping import polite_stop
from tutelage.engine.tutor import answers_folder
from tutelage.errors import ConfigError, DataError, UnknownNameError

__all__ = ["cache", "serve_teacher"]

NO_TEACHER = "a teacher is needed: --teacher RUN, made by `tutelage teach`, a .safetensors file, or what else answered"

STEP, STEP_BF16 = 2**-6, 2**-3
"""The step between two numbers from 16 to 32, as logits are, in half precision and in bfloat16.

A cache keeps answers in half precision. The same answer, computed in another batch or on another machine, differs in
its last bits, and where these lie across a boundary it is rounded to the next number. A teacher that computes in
bfloat16 has last bits that are larger.
"""


def fill(args: Sequence[str]) -> None:
    """Carry out ``tutelage cache fill``: its flags are those of ``distill``, and one of its own."""
    if {"-h", "--help"} & set(args):
        print(FILL)
    words = [word for word in args if word != "--all-views"]
    config, _ = distilled(words, prog="tutelage cache fill [--all-views]")
    done = fill_answers(config, all_views="--all-views" in args)
    print(
        f"{done.path}: {done.asked:,} of {done.wanted:,} answers were asked for and {done.held:,} were there already; "
        f"cost {done.cost:g}"
    )
    if done.spent:
        print(f"the budget leaves {done.wanted - done.held - done.asked:,} without an answer")
    if done.unread:
        print("a run whose teacher costs nothing reads a cache if it is told to: distill with --teacher.cache on")


FILL = """\
tutelage cache fill asks the teacher now for what a run will ask it, and trains nothing. It takes the words of
`tutelage distill`, such as the config.json of a run, and asks for the views that this run shows in its --epochs with
its --seed; what is in the cache is not asked again, so a fill that was stopped goes on with the same command.

  --all-views  Ask for every view there is of an image (162 for CIFAR), packed: the cache then serves every seed.

Calls are noted in ledger.sqlite beside the answers; a --teacher.budget counts all fills of a cache together. A fill
and a run share a budget where both have the same --teacher.ledger.
"""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Ask the teacher again for a random sample of its answers in a cache, and compare.

    The teacher is really asked, outside any budget: one that bills its calls bills these too.

    Args:
        folder: One cache, or a folder of caches; by default $TUTELAGE_CACHE/answers.
        teacher: Whose answers, as for `tutelage distill`.
        teacher_gives: What a Python function answers with.
        teacher_taps: Features by role, where the teacher's own names do not fit.
        teacher_batch_size: Largest number of images the teacher sees at once.
        http: How a server is asked.
        data: The images; by default those that the teacher was trained on.
        size: Side of the images; by default that of the data, 224 for photographs.
        sample: How many answers of each cache.
        seed: Which answers; and that of the run, where views depend on it (photographs).
        tolerance: The largest difference that is none; by default one step of half precision between 16 and 32,
            1/64, or of bfloat16, 1/8, where the teacher computes in it.
        engine: Where and how, as when the answers were bought.
    """

    folder: Positional[Path | None] = None
    teacher: str | None = None
    teacher_gives: Annotated[Literal["logits", "probabilities"], arg(name="teacher.gives")] = "logits"
    teacher_taps: Annotated[tuple[str, ...], arg(name="teacher.taps", metavar="ROLE=PATH")] = ()
    teacher_batch_size: Annotated[int | None, arg(name="teacher.batch-size")] = None
    http: Annotated[HttpConfig, arg(name="teacher.http")] = field(default_factory=HttpConfig)
    data: str | None = None
    size: int | None = None
    sample: int = 256
    seed: int = 0
    tolerance: float | None = None
    engine: EngineConfig = field(default_factory=EngineConfig)


def verify(args: Sequence[str]) -> None:
    """Carry out ``tutelage cache verify``."""
    asked = tyro.cli(Verify, args=args, prog="tutelage cache verify")
    if asked.teacher is None:
        raise ConfigError(NO_TEACHER)
    if asked.tolerance is not None and not asked.tolerance >= 0:
        raise ConfigError(f"the tolerance must be 0 or more, got {asked.tolerance}")
    data = open_dataset(asked.data or trained_on(asked.teacher), size=asked.size)
    folder = asked.folder or answers_folder()
    found = verify_answers(teacher_of(asked), data, folder, sample=asked.sample, seed=asked.seed, engine=asked.engine)
    wrong = []
    for store, result in found:
        allowed = asked.tolerance
        if allowed is None:
            allowed = STEP_BF16 if store.subject.teacher.endswith("-bf16") else STEP
        print(f"{store.path}: {result.checked:,} answers, largest difference {result.largest:.4g}")
        if not result.largest <= allowed:  # a damaged answer may be NaN
            wrong.append(f"{store.path} by up to {result.largest:.4g}, more than {allowed:g}")
    if wrong:
        raise DataError(
            f"answers differ from what the teacher answers now: {'; '.join(wrong)}: do not use such a cache, or allow "
            f"more with --tolerance if the machine computes otherwise"
        )


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve a stored network over HTTP, for `--teacher http://…`; its description is at /openapi.json.

    It knows no users and no encryption: beyond this machine, put it behind a server that does.

    Args:
        network: A run directory, or a .safetensors file with its card beside it.
        host: Address to listen at; 0.0.0.0 for every one of this machine.
        port: Where; 0 for any that is free.
        batch_size: The most images the network sees at once, however many a request has.
        accelerator: cpu, cuda, mps, or auto for the best there is.
    """

    network: Positional[Path]
    host: str = "127.0.0.1"
    port: int = 8000
    batch_size: int = 256
    accelerator: str = "auto"


def serve_teacher(args: Sequence[str]) -> None:
    """Carry out ``tutelage serve-teacher``, until Ctrl-C or SIGTERM."""
    asked = tyro.cli(Serve, args=args, prog="tutelage serve-teacher")
    with (
        polite_stop() as stopped,
        serve_network(
            asked.network,
            host=asked.host,
            port=asked.port,
            batch_size=asked.batch_size,
            accelerator=asked.accelerator,
        ) as server,
    ):
        print(f"{asked.network} answers at {server.url}; Ctrl-C stops it", flush=True)
        while not stopped():
            time.sleep(0.1)
    print(f"stopped; {server.answered:,} images were answered")


CACHE: Mapping[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "fill": (fill, "ask a teacher now for what a run will ask it"),
    "verify": (verify, "ask again for some of the answers, and compare"),
    "stats": (stats, "what is kept, and how much room it takes"),
    "merge": (merge_caches, "copy answers from other caches"),
    "prune": (prune_caches, "delete what is kept of other teachers"),
    "ledger": (show_ledgers, "who asked for what, and what it cost"),
}


def cache(args: Sequence[str]) -> None:
    """Carry out ``tutelage cache``."""
    if not args or args[0] in ("-h", "--help"):
        print("usage: tutelage cache COMMAND\n\nThe answers of teachers on disk: each (id, view) is asked once.\n")
        print("\n".join(f"  tutelage cache {name:7} {what}" for name, (_, what) in CACHE.items()))
        print("\n`tutelage cache COMMAND --help` shows the options of a command.")
        sys.exit(0)
    if args[0] not in CACHE:
        raise UnknownNameError("cache command", args[0], CACHE)
    CACHE[args[0]][0](args[1:])
