"""The loop: batches in, optimiser steps out; it never waits for the accelerator but to write a line of metrics."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.data import Mixture
from tutelage.engine.apart import catch_up
from tutelage.engine.cohort import CohortObjective, Lessons
from tutelage.engine.config import StageConfig
from tutelage.engine.evaluation import share_buffers
from tutelage.engine.handover import judge_of, trains_alone
from tutelage.engine.hints import warmup_hint
from tutelage.engine.objective import Objective, Summands
from tutelage.engine.products import Product
from tutelage.engine.progress import Progress
from tutelage.engine.schedule import rate_at
from tutelage.engine.session import Session
from tutelage.engine.sinks import MetricsLog
from tutelage.engine.state import State
from tutelage.engine.stopping import polite_stop
from tutelage.engine.watching import Watch
from tutelage.errors import DivergedError, Interrupted
from tutelage.methods import Method
from tutelage.models.checkpoint import load_weights, save_network
from tutelage.types import Batch, Outputs

__all__ = ["StageLoop"]


@dataclass
class StageLoop:
    """One stage under way.

    Args:
        session: The parts of the run.
        stage: Its settings.
        objective: Batch → terms.
        method: The bare method of the stage, told of every step.
        state: Saved and restored; holds the wrapped student, position, meter and optimiser.
        product: Where what the stage makes is kept for other runs, if it can be.
    """

    session: Session
    stage: StageConfig
    objective: Objective | CohortObjective
    method: Method | Lessons | None
    state: State
    product: Product | None = None

    def run(self, log: MetricsLog) -> None:
        """Train from where the state stands to the end of the stage.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, with everything saved.
            DivergedError: if the loss or a measurement is no longer finite.
        """
        self._log, position = log, self.state.position
        loader = self.session.loader(position.stage)
        self._batches, self._total = loader.num_batches, self.stage.epochs * loader.num_batches
        self._judge, self._alone = judge_of(self.method), trains_alone(self.method)
        self._marked = self._saved = time.monotonic()
        self._images, self._watch = 0, Watch(self.session, self.method)
        title = f"{self.stage.method.name if self.stage.method else 'labels'} · {self.session.config.student.model}"
        with Progress(title, self._total, show=self.session.fabric.is_global_zero) as self._progress:
            if self._inherit():
                return
            if self.method is not None:
                self.session.choose(self.state.run)
            self._begin()
            self._marked = time.monotonic()
            self._progress.start_at(position.step)
            for remark in filter(None, (self._watch.why_not, warmup_hint(self.stage.method, self.stage.epochs))):
                self._progress.note(position.step, remark)
            with polite_stop() as asked:
                while not self._over:
                    if not self._alone:
                        self.state.student.train()
                    for batch in loader.epoch(position.epoch, start=position.batch):
                        self._step(batch)
                        self._look_around(asked)
                    self._end_epoch()
        if self.product is not None and self.method is not None and self.session.fabric.is_global_zero:
            self.product.keep(self.method)

    def _inherit(self) -> bool:
        """Take what the stage would make from the cache, if it is there."""
        position, fabric = self.state.position, self.session.fabric
        if self.product is None or self.method is None or position.begun:
            return False
        position.cached = self.product.restore(self.method, fabric)
        if position.cached:
            self._log.write({"kind": "stage", "stage": self.stage.name, "step": position.all_steps, "cached": True})
            self._progress.note(0, f"stage {self.stage.name!r} is taken from {self.product.path}")
        return position.cached

    def _begin(self) -> None:
        """Once a stage: the student that it is to start with, its random numbers, and what its method prepares."""
        position, run = self.state.position, self.state.run
        if position.begun or position.step > 0:
            return
        later = position.stage > 0
        if later:
            # The numbers must not depend on whether the stages before were trained or found in the cache.
            torch.manual_seed(self.session.config.seed + 1_000_003 * position.stage + self.session.fabric.global_rank)
        if later and self.stage.start == "best" and run.best.exists():
            load_weights(self.session.student, run.best)
        self.session.prepare(position.stage)
        position.begun = True
        if later:  # the file of the best weights is now this stage's: what it held would be gone after a crash
            self._save()

    def _step(self, batch: Batch) -> None:
        position, accumulate = self.state.position, self.stage.optimizer.accumulate
        first = position.batch - position.batch % accumulate
        parts = min(accumulate, self._batches - first)
        due = position.batch + 1 == first + parts
        with self._unsynced(due):
            (terms, skipped), correct = self._terms(batch)
            total = torch.stack([term.value * term.weight for term in terms.values()]).sum() / parts
            self.session.fabric.backward(total)
        self.state.meter.add(terms, correct=correct, count=len(batch.ids), skipped=skipped)
        position.skipped += skipped
        self._images += len(batch.ids) * self.session.shares
        if due:
            self._update(position.step / self._total)
        position.batch, position.step = position.batch + 1, position.step + 1
        if due:
            epoch = position.step / self._batches
            if self.method is not None:
                self.method.after_step(epoch)
            if self.session.tutor is not None and not self._alone:
                self.session.tutor.follow(self.session.student, epoch, self.session.fabric)

    def _terms(self, batch: Batch) -> tuple[Summands, Tensor | None]:
        """What the batch adds up to, and how many samples the student classified rightly, where it was run."""
        taught = self.method is not None and self.method.needs.teacher and self.session.teacher is not None
        teacher = self.session.teacher(batch) if taught and self.session.teacher else None
        if self._alone and teacher is not None and isinstance(self.objective, Objective):
            return self.objective.alone(teacher, batch), None
        mixture = self._mixture(batch)
        answers = self.state.student(mixture.blend(batch.images) if mixture else batch.images)
        student: Outputs = answers if isinstance(answers, Outputs) else answers[0]
        correct = (student.logits.detach().argmax(1) == batch.labels).sum()
        return self.objective(answers, teacher, batch, mixture), correct

    @property
    def _over(self) -> bool:
        position, schedule = self.state.position, self.stage.schedule
        spent = schedule.name == "plateau" and position.drops >= schedule.drops
        return position.epoch >= self.stage.epochs or (spent and position.batch == 0)

    def _mixture(self, batch: Batch) -> Mixture | None:
        if self.stage.mix is None:
            return None
        position, (height, width) = self.state.position, batch.images.shape[2:]
        return self.stage.mix.draw(self.session.config.seed, position.stage * 2**32 + position.step, (height, width))

    def _unsynced(self, due: bool) -> AbstractContextManager[Any]:
        learner: Any = self.state.student
        return nullcontext() if due or self.session.shares == 1 else self.session.fabric.no_backward_sync(learner)

    def _update(self, done: float) -> None:
        optimizer = self.state.optimizer
        for group in optimizer.param_groups:
            group["lr"] = self.stage.optimizer.lr * rate_at(self.stage.schedule, done, drops=self.state.position.drops)
        if self.stage.optimizer.clip is not None:
            self.session.fabric.clip_gradients(
                self.state.student, optimizer, max_norm=self.stage.optimizer.clip, error_if_nonfinite=False
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _look_around(self, asked: Callable[[], bool]) -> None:
        """After a step: show it, log it, save it or stop, each when its time has come."""
        position, engine = self.state.position, self.session.config.engine
        self._progress.step(position.step)
        logs = position.step == 1 or position.step % engine.log_every == 0
        if logs:
            self._write_metrics()
        if position.batch % self.stage.optimizer.accumulate:
            return  # gradients are half gathered: not a state that could be saved
        if self.session.fabric.world_size > 1 and not logs:
            return  # ranks agree now and then, not every step
        if self._agreed(asked()):
            self._save()
            raise Interrupted(
                f"stopped at epoch {position.epoch}, step {position.step}; everything is saved: "
                f"go on with `tutelage resume {self.state.run.path}`"
            )
        self._save_after(engine.save_every)

    def _agreed(self, flag: bool) -> bool:
        """Whether any rank says so: all must save together, and their clocks and signals differ."""
        fabric = self.session.fabric
        return flag if fabric.world_size == 1 else bool(fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum"))

    def _averaged(self, sums: Tensor) -> Tensor:
        """The mean over the ranks: of one's own part alone, accuracy and cross-entropy would be too noisy by √ranks."""
        return self.session.fabric.all_reduce(sums, reduce_op="mean")  # type: ignore[return-value]

    def _write_metrics(self) -> None:
        position, reading = self.state.position, self.state.meter.read(self._averaged)
        if not math.isfinite(reading["loss"]):
            terms = (f"{name} {term['value']:g} × {term['weight']:g}" for name, term in reading["terms"].items())
            raise DivergedError(
                f"the loss is {reading['loss']} at step {position.step} ({', '.join(terms)}): lower the learning rate, "
                f"clip the gradient, or look at the largest term; the checkpoint before it is kept"
            )
        rate = self._clock()
        self._log.write(
            {
                "kind": "train",
                "stage": self.stage.name,
                "epoch": position.step / self._batches,
                "step": position.all_steps,
                "lr": self.state.optimizer.param_groups[0]["lr"],
                "images_per_second": rate,
                **reading,
            }
        )
        right = f", accuracy {reading['accuracy']:.1%}" if "accuracy" in reading else ""
        self._progress.note(position.step, f"loss {reading['loss']:.3f}{right}, {rate:,.0f} images/s")

    def _clock(self) -> float:
        """Count the seconds since the clock was last asked, and what memory they took; images a second in that time."""
        now = time.monotonic()
        seconds, images = now - self._marked, self._images
        self.state.position.seconds += seconds
        self.state.position.memory = max(self.state.position.memory, self.session.footprint.peak())
        self._marked, self._images = now, 0
        return images / max(seconds, 1e-9)

    def _end_epoch(self) -> None:
        position, engine = self.state.position, self.session.config.engine
        self._clock()
        position.epoch, position.batch = position.epoch + 1, 0
        last = position.epoch == self.stage.epochs
        if self._judge == "none":
            if last and not self._alone:
                self._keep_best()
        elif last or position.epoch % engine.validate_every == 0:
            self._validate()
            self._drop()
        # To repeat epochs of a fraction of a second takes no longer than to save each.
        self._save_after(0.0 if self._over else min(1.0, engine.save_every))

    def _validate(self) -> None:
        position, (network, *peers) = self.state.position, self.session.networks
        judge, name = self.session.judge, self._judge
        catch_up(self.state.student)
        measured = judge.measure(network, "validation", by=name)
        figure, others = measured[name], [judge.measure(peer, "validation", by=name)[name] for peer in peers]
        for which, value in measured.items():
            if not math.isfinite(value):
                raise DivergedError(
                    f"the student's {which} on the validation images is {value} after epoch {position.epoch}: lower "
                    f"the learning rate or clip the gradient; the checkpoint before it is kept"
                )
        record = {"kind": "validation", "stage": self.stage.name, "epoch": position.epoch, "step": position.all_steps}
        self._log.write({**record, **measured, **({"peers": others} if peers else {}), **self._watch()})
        if figure > position.best:
            position.best = figure
            self._keep_best()
        self._progress.note(position.step, f"validation {name} {figure:.1%}")
        self.session.footprint.restart()  # of batches of 500 that a validation forwards, nothing is counted
        self._marked = time.monotonic()

    def _keep_best(self) -> None:
        self.state.position.best_epoch = self.state.position.epoch
        share_buffers(self.session.student, self.session.fabric)
        if self.session.fabric.is_global_zero:
            save_network(self.session.student, self.state.run.best)

    def _drop(self) -> None:
        """Of a plateau schedule: back to the best weights and on at a lower rate, where nothing was gained for long."""
        position, schedule = self.state.position, self.stage.schedule
        since = max(position.best_epoch, position.dropped)
        if schedule.name != "plateau" or position.epoch - since < schedule.patience:
            return
        position.drops, position.dropped = position.drops + 1, position.epoch
        self.session.fabric.barrier()  # the first rank may still be writing them
        load_weights(self.session.student, self.state.run.best)

    def _save_after(self, seconds: float) -> None:
        if self._agreed(time.monotonic() - self._saved > seconds):
            self._save()

    def _save(self) -> None:
        position = self.state.position
        self._clock()
        position.metrics, position.calls = self._log.size(), self.session.calls
        self.state.save()
        self._marked = self._saved = time.monotonic()
