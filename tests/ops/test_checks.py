import math
import re

import pytest
import torch

from tutelage.errors import ConfigError, ShapeError
from tutelage.ops.checks import (
    check_labels,
    check_non_negative,
    check_paired_logits,
    check_paired_rows,
    check_paired_shapes,
    check_positive,
)


def z(*shape, **kind):
    return torch.zeros(*shape, **kind)


@pytest.mark.parametrize(
    ("check", "student", "teacher", "message"),
    [
        (check_paired_rows, z(4), z(4, 8), "student features must be one row a sample, (n, d), got (4,): pool"),
        (
            check_paired_rows,
            z(4, 8),
            z(4, 8, 2, 2),
            "teacher features must be one row a sample, (n, d), got (4, 8, 2, 2)",
        ),
        (check_paired_rows, z(4, 0), z(4, 8), "student features must be one row a sample, (n, d), got (4, 0)"),
        (check_paired_rows, z(4, 8), z(3, 8), "same samples, got 4 and 3 rows: run both on one batch"),
        (check_paired_rows, z(0, 8), z(0, 8), "at least 1 of them, got 0: use a larger batch"),
        (
            check_paired_rows,
            z(4, 8),
            z(4, 8, dtype=torch.int32),
            "teacher must be floating-point numbers, got torch.int32",
        ),
        (check_paired_rows, z(4, 8), z(4, 8, device="meta"), "on one device, got cpu and meta: move one"),
        (check_paired_shapes, z(4, 8), z(4, 9), "one shape, got (4, 8) and (4, 9): put a connector"),
        (check_paired_shapes, z(4), z(4), "at least one number a sample, got student (4,): tap a layer"),
        (check_paired_shapes, z(0, 8), z(0, 8), "at least one number a sample, got student (0, 8)"),
        (
            check_paired_logits,
            z(4, 1),
            z(4, 1),
            "student logits must be (n, k) with at least one sample and two classes, got",
        ),
        (
            check_paired_logits,
            z(4, 3),
            z(4),
            "teacher logits must be (n, k) with at least one sample and two classes, got",
        ),
        (check_paired_logits, z(0, 3), z(0, 3), "student logits must be (n, k) with at least one sample"),
        (check_paired_logits, z(4, 3), z(5, 3), "same samples, got 4 and 5 rows"),
        (check_paired_logits, z(4, 3), z(4, 5), "same classes, got 3 and 5: select and order the teacher's columns"),
        (
            check_labels,
            z(4, dtype=torch.int32),
            z(4, 3),
            "labels must be int64 class numbers, one a sample, (4,), got (4,)",
        ),
        (check_labels, z(4, 3, dtype=torch.int64), z(4, 3), "got (4, 3) torch.int64: use labels.argmax(1) for one-hot"),
        (check_labels, z(4, dtype=torch.int64), z(4, 3, device="meta"), "on one device, got cpu and meta"),
        (check_labels, torch.tensor([0, -1]), z(2, 3), "class numbers from 0 to 2, got -1 to 0: map the labels"),
        (check_labels, torch.tensor([0, 3]), z(2, 3), "class numbers from 0 to 2, got 0 to 3: map the labels"),
    ],
)
def test_a_message_says_what_was_wanted_what_came_and_what_to_do(check, student, teacher, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        check(student, teacher)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_rows_that_is_needed_is_the_number_that_is_enough(count):
    assert check_paired_rows(z(count, 8), z(count, 5), at_least=count) is None
    with pytest.raises(ShapeError, match=f"at least {count + 1} of them, got {count}"):
        check_paired_rows(z(count, 8), z(count, 5), at_least=count + 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_and_double_precision_pass(dtype):
    assert check_paired_rows(z(2, 3, dtype=dtype), z(2, 3)) is None
    assert check_paired_logits(z(2, 3, dtype=dtype), z(2, 3)) is None
    assert check_paired_shapes(z(2, 3, dtype=dtype), z(2, 3)) is None
    assert check_labels(torch.tensor([0, 2]), z(2, 3, dtype=dtype)) is None


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_setting_that_must_be_positive_is_refused_otherwise(value):
    assert check_positive(temperature=1e-3) is None
    with pytest.raises(ConfigError, match=f"temperature must be positive.*, got {value}"):
        check_positive(temperature=value)


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_a_setting_that_may_be_zero_is_refused_below(value):
    assert check_non_negative(alpha=0.0) is None
    with pytest.raises(ConfigError, match=f"alpha must be (at least 0|finite), got {value}"):
        check_non_negative(alpha=value)
