"""FitNet: an adapter that fits maps and vectors, and refuses what cannot be compared."""

import pytest
import torch
from torch import nn

from tutelage.errors import ShapeError
from tutelage.methods import FitNetConfig
from tutelage.types import Batch, Outputs


def hint(student, teacher):
    shapes = [{"stage2": tuple(value.shape[1:])} for value in (student, teacher)]
    torch.manual_seed(0)
    method = FitNetConfig().build(*shapes)
    n = len(student)
    batch = Batch(torch.zeros(n, 1, 2, 2), *3 * [torch.arange(n)])
    return method, method(Outputs(student, {"stage2": student}), Outputs(teacher, {"stage2": teacher}), batch)["hint"]


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((4, 8, 8), (6, 8, 8)), ((4, 8, 8), (6, 4, 4)), ((4, 3, 5), (6, 8, 8)), ((4, 8, 3), (6, 2, 9)), ((4,), (6,))],
)
def test_the_adapter_fits_maps_and_vectors_of_every_size(student, teacher):
    student, teacher = torch.randn(5, *student), torch.randn(5, *teacher)
    method, term = hint(student, teacher)
    assert term.value.isfinite()
    assert term.weight == 100.0
    assert isinstance(method.adapter[0], nn.Linear if student.dim() == 2 else nn.Conv2d)
    assert method.adapter[0].weight.shape[:2] == (6, 4)


def test_the_larger_map_is_pooled_to_the_smaller():
    student, teacher = torch.randn(5, 4, 4, 4), torch.randn(5, 6, 8, 8)
    _, pooled = hint(student, nn.functional.avg_pool2d(teacher, 2))
    _, term = hint(student, teacher)
    torch.testing.assert_close(term.value, pooled.value)
    _, other_way = hint(teacher[:, :4], student)
    _, pooled = hint(nn.functional.avg_pool2d(teacher[:, :4], 2), student)
    torch.testing.assert_close(other_way.value, pooled.value)


def test_every_weight_of_the_adapter_is_trained():
    method, term = hint(torch.randn(5, 4, 4, 4), torch.randn(5, 6, 4, 4))
    term.value.backward()
    # batch norm takes away any bias before it
    trained = {name for name, weight in method.named_parameters() if weight.grad.abs().sum() > 1e-6}
    assert trained >= {"adapter.0.weight", "adapter.1.weight", "adapter.1.bias"}


@pytest.mark.parametrize(("student", "teacher"), [((4, 8, 8), (6,)), ((4,), (6, 8, 8)), ((4, 8), (6, 8))])
def test_a_map_and_a_vector_are_refused_with_both_shapes(student, teacher):
    with pytest.raises(ShapeError) as caught:
        FitNetConfig().build({"stage2": student}, {"stage2": teacher})
    assert all(part in str(caught.value) for part in ("'stage2'", str(student), str(teacher), "another role"))
