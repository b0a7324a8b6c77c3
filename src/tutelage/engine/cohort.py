"""Networks that learn from each other: every one forwards a batch once, and hears what the others say, detached.

Or, where the method has an ensemble, what all of them say together: it counts as one more network that speaks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from jaxtyping import Shaped
from torch import Tensor, nn

from tutelage.data import Mixture
from tutelage.engine.objective import Objective, Summands
from tutelage.methods import Method, Needs
from tutelage.models import Network
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Term

__all__ = ["Cohort", "CohortObjective", "Lessons"]


class Cohort(nn.Module):
    """The student and its peers as one module, so that they share an optimiser, a wrapper for ranks and a checkpoint.

    Args:
        networks: The student first.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Shaped[Tensor, "n c h w"]) -> tuple[Outputs, ...]:
        """What each says of the images, the student first."""
        return tuple(network(images) for network in self.networks)


class Lessons(nn.Module):
    """A method for every ordered pair: who learns, and from whom.

    Args:
        pairs: (learner, teacher) by their numbers in the cohort → method; the number after the last is the ensemble.
        ensemble: What lets the networks speak together; None where they learn from each other.
    """

    def __init__(self, pairs: Mapping[tuple[int, int], Method], ensemble: nn.Module | None = None) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.pairs = dict(pairs)
        self.methods = nn.ModuleList(pairs.values())

    @property
    def needs(self) -> Needs:
        """What each of the methods must be given."""
        return next(iter(self.pairs.values())).needs

    def follow(self, earlier: Mapping[str, "Lessons"]) -> None:
        """Each method is told of those of its own pair in the earlier stages."""
        for pair, method in self.pairs.items():
            method.follow({name: lessons.pairs[pair] for name, lessons in earlier.items() if pair in lessons.pairs})

    def prepare(self, answering: Sequence[Teacher], batches: Callable[[], Iterator[Batch]]) -> None:
        """Once before training: each method meets the one it learns from, but none an ensemble."""
        for (_, teacher), method in self.pairs.items():
            if teacher < len(answering):
                method.prepare(answering[teacher], batches)

    def after_step(self, epoch: float) -> None:
        """Once after each optimiser step."""
        for method in self.pairs.values():
            method.after_step(epoch)


class CohortObjective:
    """The terms of all networks of a cohort.

    A network learns from its label and, in the mean over the others, from each of them. The terms of the student
    have their plain names; those of peer i begin with ``peer<i>.``. An ensemble learns from the labels alone, in
    ``ensemble.task``, and with it all networks that it is made of.

    Args:
        pairs: (learner, teacher) → its objective.
        ensemble: What the networks say together, and what the label teaches it; None where there is none.
    """

    def __init__(
        self, pairs: Mapping[tuple[int, int], Objective], ensemble: tuple[nn.Module, Objective] | None = None
    ) -> None:
        self._pairs = pairs
        self._ensemble = ensemble
        self._teachers = sum(learner == 0 for learner, _ in pairs)

    def __call__(
        self, answers: tuple[Outputs, ...], teacher: Outputs | None, batch: Batch, mixture: Mixture | None = None
    ) -> Summands:
        """The terms by name.

        Args:
            answers: Of the cohort.
            teacher: None: a cohort has no teacher.
            batch: The single images.
            mixture: How they were mixed.
        """
        terms: dict[str, Term] = {}
        if self._ensemble is not None:
            module, labels = self._ensemble
            together = labels.whole(module, answers)
            terms["ensemble.task"] = labels(together, None, batch, mixture).terms["task"]
            answers = (*answers, together)
        for (learner, peer), objective in self._pairs.items():
            said = answers[peer]
            heard = Outputs(said.logits.detach(), {role: value.detach() for role, value in said.taps.items()})
            found = objective(answers[learner], heard, batch, mixture).terms
            for name, term in found.items():
                name = f"peer{learner}.{name}" if learner else name
                value = term.value / self._teachers
                terms[name] = Term(terms[name].value + value if name in terms else value, term.weight)
        return Summands(terms)
