"""VID: a regressor that fits maps and vectors, variances that are learned, and refusals."""

import pytest
import torch
from torch import nn

from tutelage.errors import ShapeError, UnknownNameError
from tutelage.methods import VIDConfig
from tutelage.types import Batch, Outputs


def term(student, teacher, **settings):
    shapes = [{"stage2": tuple(value.shape[1:])} for value in (student, teacher)]
    torch.manual_seed(0)
    method = VIDConfig(**settings).build(*shapes)
    batch = Batch(torch.zeros(5, 1, 2, 2), *3 * [torch.arange(5)])
    return method, method(Outputs(student, {"stage2": student}), Outputs(teacher, {"stage2": teacher}), batch)["vid"]


@pytest.mark.parametrize(
    ("student", "teacher"), [((4, 8, 8), (6, 8, 8)), ((4, 8, 8), (6, 4, 4)), ((4, 3, 5), (6, 8, 8)), ((4,), (6,))]
)
def test_the_regressor_fits_maps_and_vectors_and_all_of_it_is_trained(student, teacher):
    method, found = term(torch.randn(5, *student), torch.randn(5, *teacher))
    found.value.backward()
    assert found.value.isfinite()
    assert all(weight.grad.abs().sum() > 0 for weight in method.parameters())
    assert isinstance(method.regressor[0], nn.Linear if len(student) == 1 else nn.Conv2d)


@pytest.mark.parametrize("variance", [1e-3, 1.0, 5.0])
def test_the_variance_starts_where_it_is_set(variance):
    method, found = term(torch.zeros(5, 4), torch.zeros(5, 6), variance=variance)
    torch.testing.assert_close(found.value, 0.5 * torch.tensor(variance).log(), rtol=1e-4, atol=1e-4)
    if variance == 5.0:  # the 4.9932 of HobbitLong/RepDistiller@b84f547, distiller_zoo/VID.py
        torch.testing.assert_close(method.spread.detach(), torch.full((6,), 4.993229389190674))


def test_the_defaults_are_those_of_the_literature():
    # -b 1 of scripts/run_cifar_distill.sh and init_pred_var of distiller_zoo/VID.py, HobbitLong/RepDistiller@b84f547
    assert (VIDConfig().weight, VIDConfig().variance) == (1.0, 5.0)


def test_a_feature_that_is_missing_or_of_another_kind_is_refused():
    with pytest.raises(ShapeError, match=r"vid compares two maps or two vectors, but 'stage2' is \(4, 8, 8\)"):
        VIDConfig().build({"stage2": (4, 8, 8)}, {"stage2": (6,)})
    with pytest.raises(UnknownNameError, match="tap of the teacher"):
        VIDConfig().build({"stage2": (4,)}, {"embedding": (6,)})
