"""Images a second: a bare PyTorch loop of the student, the same with a teacher's forward, and our loop.

    TUTELAGE_DATA=… python benchmarks/speed.py --student zoo:resnet20 --teacher zoo:wrn_16_2 --method kd

(a) alone   the student in a bare loop: forward, cross-entropy, backward, SGD
(b) floor   the same and a forward of the teacher: what no distillation can do without; with the method's encoders
            where it has some
(c) ours    tutelage's loop as users run it: loader with augmentation, method, metrics, progress, checkpoints

With --cache it is measured twice: the first run asks the teacher and keeps its answers on disk, the warm run finds
all of them there. The warm run is to be compared with (a), since it needs no teacher.

Of a method of several stages the last is measured, after one epoch of each of the others over a few images. The
floor of IE-KD and FT has their encoders: the teacher's forwards, those of the student forwards and backwards.

The three take turns of a few steps, (c) being a real run that pauses for the others, so that a change in the
machine's speed meets all alike. Each round gives one ratio (c)/(b), with a warm cache (c)/(a); printed are the medians
over the rounds and the quartiles of the ratio. The bare loops repeat one batch of random pixels, already normalised:
no loader, no metrics.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.data import Loader, open_dataset
from tutelage.data.protocols import Standard
from tutelage.engine import AnswersConfig, EngineConfig, RunConfig, StudentConfig, TeacherConfig, staged, start
from tutelage.engine.session import Session
from tutelage.methods import METHODS
from tutelage.methods.adapters.auto_encoder import coder, factors_of
from tutelage.methods.adapters.stages import last_feature
from tutelage.models import ModelCard, Network, build_network, resolve, save_network
from tutelage.recipes import short
from tutelage.types import Batch

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
CLASSES = 100


class EnoughError(Exception):
    """All rounds are done: leave the run."""


class Turns:
    """Pauses our loop every few steps and lets the bare loops take theirs.

    Args:
        rivals: Name → one bare step.
        steps: Steps a turn.
        rounds: Rounds that count; one more comes before them to warm up.
        device: Waited for before the clock is read.
    """

    def __init__(self, rivals: dict[str, Callable[[], None]], steps: int, rounds: int, device: torch.device) -> None:
        self.rivals, self.steps, self.rounds, self.device = rivals, steps, rounds, device
        self.seconds: dict[str, list[float]] = {name: [] for name in ("ours", *rivals)}
        self._began = 0.0

    def epoch(self, loader: Loader, number: int, start: int) -> Iterator[Batch]:
        for position, batch in enumerate(loader.epoch(number, start=start)):
            if position and position % self.steps == 0:
                self._round()
            self._began = self._began or self._now()
            yield batch

    def _round(self) -> None:
        self.seconds["ours"].append(self._now() - self._began)
        for name, step in self.rivals.items():
            began = self._now()
            for _ in range(self.steps):
                step()
            self.seconds[name].append(self._now() - began)
        if len(self.seconds["ours"]) > self.rounds:
            raise EnoughError
        self._began = self._now()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


class Encoders(nn.Module):
    """The encoders that a method adds to both networks, and nothing of its loss.

    Args:
        halves: Channels of the student's feature that each of its encoders reads.
        theirs: Shape of the teacher's feature.
    """

    def __init__(self, halves: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        super().__init__()
        factors = factors_of(theirs, 0.5)
        self.halves = halves
        self.ours = nn.ModuleList(coder(half, factors, shape=theirs) for half in halves)
        self.theirs = coder(theirs[0], factors, shape=theirs).requires_grad_(False).eval()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        with torch.no_grad():
            self.theirs(teacher)
        parts = student.split(self.halves, dim=1)
        return torch.stack([encode(part).mean() for encode, part in zip(self.ours, parts, strict=True)]).sum()


def encoders_of(method: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> Encoders | None:
    half = ours[0] // 2
    halves = {"iekd": (half, ours[0] - half), "ft": (ours[0],)}.get(method)
    return Encoders(halves, theirs) if halves else None


def network(args: argparse.Namespace, spec: str) -> Network:
    data = open_dataset(args.data)
    return build_network(
        ModelCard(model=spec, classes=data.labels.names, image=(3, data.size, data.size), mean=data.mean, std=data.std)
    )


def bare_step(args: argparse.Namespace, device: torch.device, *, taught: bool) -> Callable[[], None]:
    layout, dtype = torch.channels_last, DTYPES[args.precision]
    shapes = [network(args, spec).shapes for spec in (args.student, args.teacher)]
    role = last_feature(*shapes)
    student = resolve(args.student, num_classes=CLASSES).to(device=device, memory_format=layout).train()
    teacher = resolve(args.teacher, num_classes=CLASSES).to(device=device, memory_format=layout).eval()
    found = encoders_of(args.method, shapes[0][role], shapes[1][role]) if taught else None
    encoders = found.to(device=device, memory_format=layout) if found else None
    features: list[Tensor] = []
    if encoders is not None:
        for bare in (student, teacher):
            bare.get_submodule(bare.taps[role]).register_forward_hook(lambda module, args, out: features.append(out))
    weights = [*student.parameters(), *(encoders.ours.parameters() if encoders else [])]
    optimizer = torch.optim.SGD(weights, lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    images = torch.randn(args.batch_size, 3, 32, 32, device=device).to(memory_format=layout)
    labels = torch.randint(0, CLASSES, (args.batch_size,), device=device)

    def step() -> None:
        features.clear()
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
            logits = student(images)
            if taught:
                with torch.inference_mode():
                    teacher(images)
            more = encoders(features[0], features[1].clone()) if encoders is not None else 0.0
        (F.cross_entropy(logits.float(), labels) + more).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def make_teacher(args: argparse.Namespace, folder: Path) -> None:
    """An untrained teacher: speed does not depend on what it knows."""
    save_network(network(args, args.teacher), folder / "teacher.safetensors")


def our_run(args: argparse.Namespace, folder: Path) -> RunConfig:
    """A run of the short recipe."""
    base, cache = short(args.data), str(folder / "answers") if args.cache else "off"
    stages = staged(replace(base.stages[0], epochs=1), METHODS[args.method]())
    few = Standard(train_size=args.batch_size * (args.steps * (args.rounds + 1) + 2)) if len(stages) > 1 else None
    return replace(
        base,
        data=replace(base.data, batch_size=args.batch_size, protocol=few),
        student=StudentConfig(model=args.student),
        teacher=TeacherConfig(
            weights=str(folder / "teacher.safetensors"), allow_bad=True, answers=AnswersConfig(cache=cache)
        ),
        stages=stages,
        engine=EngineConfig(precision=args.precision),
    )


def measure(args: argparse.Namespace, folder: Path, name: str) -> dict[str, list[float]]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rivals = {"alone": bare_step(args, device, taught=False), "floor": bare_step(args, device, taught=True)}
    turns, plain = Turns(rivals, args.steps, args.rounds, device), Session.loader

    class Taking:
        def __init__(self, session: Session, stage: int = 0) -> None:
            self.loader = plain(session, stage)
            self.num_batches = self.loader.num_batches

        def epoch(self, number: int, *, start: int = 0) -> Iterator[Batch]:
            return turns.epoch(self.loader, number, start)

    def loader(session: Session, stage: int = 0) -> Loader | Taking:
        return Taking(session, stage) if stage == len(session.config.stages) - 1 else plain(session, stage)

    taking = patch.object(Session, "loader", loader)
    with taking, suppress(EnoughError):
        start(our_run(args, folder), folder / name)
    return {name: seconds[1:] for name, seconds in turns.seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="zoo:resnet20")
    parser.add_argument("--teacher", default="zoo:wrn_16_2")
    parser.add_argument("--method", default="kd", choices=sorted(METHODS))
    parser.add_argument("--precision", default="bf16", choices=sorted(DTYPES))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--data", default="cifar100")
    parser.add_argument("--steps", type=int, default=5, help="steps a turn")
    parser.add_argument("--rounds", type=int, default=12, help="rounds that count")
    parser.add_argument("--cache", action="store_true", help="keep the answers, and measure a second run with them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_teacher(args, folder)
        if args.cache:
            tell(args, "first run with a cache", measure(args, folder, "first"), "floor")
            tell(args, "run with a warm cache", measure(args, folder, "warm"), "alone")
        else:
            tell(args, "ours", measure(args, folder, "run"), "floor")


def tell(args: argparse.Namespace, what: str, seconds: dict[str, list[float]], rival: str) -> None:
    images = args.steps * args.batch_size
    rates = {name: images / statistics.median(values) for name, values in seconds.items()}
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds[rival], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{args.teacher} → {args.student}, {args.method}, {args.precision}, batch {args.batch_size}, "
        f"{torch.get_num_threads()} threads: alone {rates['alone']:,.0f}, floor {rates['floor']:,.0f}, "
        f"{what} {rates['ours']:,.0f} images/s; {what} / {rival} {middle:.3f} (quartiles {low:.3f} to {high:.3f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
