"""RKD: two terms on features of any shape."""

import pytest
import torch

from tutelage.methods import RKDConfig
from tutelage.types import Batch, Outputs


def terms(role, student, teacher, **settings):
    batch = Batch(torch.zeros(6, 1, 2, 2), *3 * [torch.arange(6)])
    method = RKDConfig(role=role, **settings).build({}, {})
    assert method.needs.roles == (role,)
    return method(Outputs(student, {role: student}), Outputs(teacher, {role: teacher}), batch)


def test_weights_are_those_of_the_literature():
    found = terms("embedding", torch.randn(6, 3), torch.randn(6, 5))
    # 25 and 50: distiller_zoo/RKD.py of HobbitLong/RepDistiller@b84f547
    assert {name: term.weight for name, term in found.items()} == {"distance": 25.0, "angle": 50.0}


def test_a_map_counts_as_the_vector_of_its_numbers():
    student, teacher = torch.randn(6, 2, 3, 3), torch.randn(6, 4, 2, 2)
    maps = terms("stage2", student, teacher)
    rows = terms("embedding", student.flatten(1), teacher.flatten(1))
    assert {name: term.value for name, term in maps.items()} == {name: term.value for name, term in rows.items()}


def test_a_student_that_is_a_scaled_and_shifted_teacher_has_nothing_to_learn():
    teacher = torch.randn(6, 5)
    assert all(term.value < 1e-9 for term in terms("embedding", 3 * teacher + 1, teacher).values())


@pytest.mark.parametrize("kept", ["distance", "angle"])
def test_a_term_without_weight_is_not_computed(kept):
    student, teacher = torch.randn(6, 3), torch.randn(6, 5)
    both = terms("embedding", student, teacher)
    off = {name: 0.0 for name in both if name != kept}
    assert terms("embedding", student, teacher, **off) == {kept: both[kept]}
