"""AT: which stages, which places, and how they add up."""

import pytest
import torch

from tutelage.errors import ConfigError, ShapeError, UnknownNameError
from tutelage.losses import attention_transfer
from tutelage.methods import ATConfig
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(5, 1, 2, 2), *3 * [torch.arange(5)])


def features(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    return {role: torch.randn(5, *shape, generator=generator) for role, shape in shapes.items()}


def attention(ours, theirs, **settings):
    student, teacher = features(ours, 0), features(theirs, 1)
    method = ATConfig(**settings).build(ours, theirs)
    return (
        student,
        teacher,
        method(Outputs(torch.zeros(5, 2), student), Outputs(torch.zeros(5, 2), teacher), BATCH)["attention"],
    )


def test_the_term_is_the_sum_over_every_stage_that_both_have():
    ours = {"stage1": (4, 8, 8), "stage2": (6, 4, 4), "stage3": (6, 2, 2), "embedding": (6,)}
    theirs = {"stage1": (3, 8, 8), "stage2": (9, 4, 4), "embedding": (9,)}
    student, teacher, term = attention(ours, theirs)
    each = [attention_transfer(student[role], teacher[role]).mean() for role in ("stage1", "stage2")]
    torch.testing.assert_close(term.value, sum(each))
    assert term.weight == 1000.0


def test_the_larger_map_is_pooled_to_the_smaller():
    student, teacher, term = attention({"stage1": (4, 8, 8)}, {"stage1": (6, 4, 4)})
    pooled = torch.nn.functional.avg_pool2d(student["stage1"], 2)
    torch.testing.assert_close(term.value, attention_transfer(pooled, teacher["stage1"]).mean())


def test_tokens_are_places():
    student, teacher, term = attention({"blocks": (7, 4)}, {"blocks": (7, 6)}, roles=("blocks",))
    expected = attention_transfer(student["blocks"].transpose(1, 2), teacher["blocks"].transpose(1, 2)).mean()
    torch.testing.assert_close(term.value, expected)


def test_what_has_no_places_or_is_missing_is_refused():
    with pytest.raises(ShapeError, match="'embedding' is a vector: name a map"):
        attention({"embedding": (4,)}, {"embedding": (6,)}, roles=("embedding",))
    with pytest.raises(UnknownNameError, match="tap of the teacher"):
        attention({"stage9": (4, 2, 2)}, {"stage1": (4, 2, 2)}, roles=("stage9",))
    with pytest.raises(ConfigError, match="share none"):
        attention({"embedding": (4,)}, {"stage1": (4, 2, 2)})
