import pytest
import torch

from tutelage.ops.precision import upcast, upcast_both, without_autocast

TYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", TYPES)
def test_the_result_has_at_least_float32_and_the_same_numbers(dtype):
    x = torch.tensor([1.0, -0.5, 3.0], dtype=dtype)
    assert upcast(x).dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert upcast(x).tolist() == [1.0, -0.5, 3.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_copied_where_nothing_is_to_be_done(dtype):
    x = torch.ones(3, dtype=dtype)
    assert upcast(x) is x
    assert upcast_both(x, x)[1] is x


@pytest.mark.parametrize("a", TYPES)
@pytest.mark.parametrize("b", TYPES)
def test_both_get_the_wider_type_and_at_least_float32(a, b):
    x, y = upcast_both(torch.ones(2, dtype=a), torch.ones(2, dtype=b))
    assert x.dtype == y.dtype == (torch.float64 if torch.float64 in (a, b) else torch.float32)


def test_the_gradient_comes_back_in_the_type_that_went_in():
    x = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    upcast(x).sum().backward()
    assert x.grad.dtype == torch.bfloat16


def test_a_device_without_autocast_is_left_alone():
    x = torch.ones(2, 2, device="meta")
    with without_autocast(x):
        assert (x @ x).dtype == torch.float32
