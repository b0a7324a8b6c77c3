"""What the terms of methods cost in a training step, beside the step itself.

    python benchmarks/terms.py --methods kd ickd

Each round times, in turns, the bare step (student forward, backward and SGD, teacher forward: the floor of speed.py)
and the terms of every method for one batch: its forward and the backward to the student's answers, not through the
student. Answers are random numbers; the bank of a method that has one holds --rows samples. Printed are the medians
over the rounds and, of the ratios terms / step of each round, the median and the quartiles; then what each method
costs over the first, as a share of the step with the first.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from speed import CLASSES, DTYPES, bare_step

from tutelage.labels import LabelSpace
from tutelage.methods import METHODS, Method
from tutelage.models import ModelCard, build_network
from tutelage.types import Batch, Outputs


class Anyone:
    """A teacher that answers with random numbers."""

    labels, fingerprint, calls = LabelSpace.numbered(CLASSES), "random", 0

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes, self.maps = shapes, True

    def __call__(self, batch: Batch) -> Outputs:
        kept = {role: shape for role, shape in self.shapes.items() if role in ("logits", "embedding") or self.maps}
        answer = {role: torch.randn(len(batch.ids), *shape) for role, shape in kept.items()}
        return Outputs(answer.pop("logits"), answer)


def shapes_of(model: str) -> dict[str, tuple[int, ...]]:
    card = ModelCard(model=model, classes=Anyone.labels.names, image=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    return dict(build_network(card).shapes)


def batch_of(ids: torch.Tensor) -> Batch:
    return Batch(torch.zeros(len(ids), 1), ids % CLASSES, ids, 0 * ids)


def terms_step(method: Method, student: Anyone, teacher: Anyone, args: argparse.Namespace) -> Callable[[], None]:
    ids = torch.randperm(args.rows, generator=torch.Generator().manual_seed(0))[: args.batch_size]
    batch = batch_of(ids)
    said, heard = student(batch), teacher(batch)

    def step() -> None:
        ours = Outputs(
            said.logits.detach().requires_grad_(),
            {role: value.detach().requires_grad_() for role, value in said.taps.items()},
        )
        with torch.autocast("cpu", dtype=DTYPES[args.precision], enabled=args.precision != "32"):
            terms = method(ours, heard, batch)
        sum(term.value * term.weight for term in terms.values()).backward()
        method.after_step(0.0)

    return step


def seconds(step: Callable[[], None], steps: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps


def told(name: str, ours: list[float], steps: list[float]) -> str:
    low, middle, high = statistics.quantiles([a / b for a, b in zip(ours, steps, strict=True)], n=4)
    return (
        f"{name}: {1000 * statistics.median(ours):.2f} ms, {100 * middle:.2f} % of the step "
        f"(quartiles {100 * low:.2f} to {100 * high:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=["kd", "ickd"])
    parser.add_argument("--student", default="zoo:resnet20")
    parser.add_argument("--teacher", default="zoo:wrn_16_2")
    parser.add_argument("--precision", default="bf16", choices=sorted(DTYPES))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rows", type=int, default=50_000, help="samples of the bank")
    parser.add_argument("--steps", type=int, default=5, help="steps a turn")
    parser.add_argument("--rounds", type=int, default=12, help="rounds that count")
    args = parser.parse_args()

    student, teacher = (Anyone(shapes_of(name)) for name in (args.student, args.teacher))

    def batches() -> Iterator[Batch]:
        return map(batch_of, torch.arange(args.rows).split(4096))

    turns = {"step": bare_step(args, torch.device("cpu"), taught=True)}
    for name in args.methods:
        method = METHODS[name]().build(student.shapes, teacher.shapes)
        teacher.maps = False  # 4,096 of every map would take gigabytes, and no memory holds them
        method.prepare(teacher, batches)
        teacher.maps = True
        turns[name] = terms_step(method, student, teacher, args)
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(args.rounds + 1):
        for name, step in turns.items():
            found[name].append(seconds(step, args.steps))
    found = {name: values[1:] for name, values in found.items()}
    print(
        f"{args.teacher} → {args.student}, {args.precision}, batch {args.batch_size}, {torch.get_num_threads()} "
        f"threads: a step is {1000 * statistics.median(found['step']):.0f} ms"
    )
    first = args.methods[0]
    for name in args.methods:
        print(told(name, found[name], found["step"]))
    whole = [step + terms for step, terms in zip(found["step"], found[first], strict=True)]
    for name in args.methods[1:]:
        more = [ours - theirs for ours, theirs in zip(found[name], found[first], strict=True)]
        print(told(f"{name} over {first}", more, whole))


if __name__ == "__main__":
    main()
