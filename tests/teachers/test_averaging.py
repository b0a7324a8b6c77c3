"""Several teachers as one."""

import math

import pytest
import torch

from tutelage.errors import ConfigError, LabelSpaceError, UnknownNameError
from tutelage.labels import LabelSpace
from tutelage.teachers import AveragingTeacher, CallableTeacher, Teacher
from tutelage.teachers.averaging import mean_answer

NAMES = ("a", "b", "c")


def teacher(seed, names=NAMES):
    logits = torch.randn(len(names), generator=torch.Generator().manual_seed(seed))
    return CallableTeacher(lambda images: logits.expand(len(images), -1), labels=LabelSpace(names), name=f"t{seed}")


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_the_mean_is_its_definition_as_loops(mean):
    answers = [torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    found = mean_answer(answers, mean=mean)
    for row in range(4):
        for column in range(3):
            each = []
            for answer in answers:
                powers = [math.exp(z) for z in answer[row].tolist()]
                each.append(answer[row, column].item() if mean == "logits" else powers[column] / sum(powers))
            value = sum(each) / 3
            expected = value if mean == "logits" else math.log(value)
            assert found[row, column].item() == pytest.approx(expected, rel=1e-12)


def test_the_mean_of_logits_is_the_geometric_mean_of_softened_answers():
    answers = [3 * torch.randn(5, 4, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    softened = torch.stack([(answer / 4).softmax(1) for answer in answers])
    product = softened.log().mean(0).exp()
    torch.testing.assert_close((mean_answer(answers) / 4).softmax(1), product / product.sum(1, keepdim=True))


def test_sure_teachers_that_contradict_each_other_and_half_precision_stay_finite():
    answers = [torch.tensor([[2000.0, 0.0]]), torch.tensor([[0.0, 2000.0]])]
    torch.testing.assert_close(mean_answer(answers, mean="probabilities").softmax(1), torch.full((1, 2), 0.5))
    half = mean_answer([answer.half() for answer in answers])
    assert half.dtype == torch.float32
    assert half.tolist() == [[1000.0, 1000.0]]


def test_it_is_a_teacher_of_logits_that_counts_each_sample_once(batch):
    both = AveragingTeacher([teacher(0), teacher(1)])
    assert isinstance(both, Teacher)
    answer = both(batch([3, 4, 5]))
    assert (answer.logits.shape, answer.taps, both.calls, both.shapes) == ((3, 3), {}, 3, {"logits": (3,)})
    torch.testing.assert_close(
        answer.logits, (teacher(0)(batch([1])).logits + teacher(1)(batch([1])).logits).expand(3, 3) / 2
    )
    both.listen([])
    both.compile()
    with pytest.raises(UnknownNameError, match="answers with logits alone: choose a method that needs none"):
        both.listen(["embedding"])


def test_its_fingerprint_is_that_of_whose_mean_it_is():
    def fingerprint(*seeds, mean="logits"):
        return AveragingTeacher([teacher(seed) for seed in seeds], mean=mean).fingerprint

    assert fingerprint(0, 1) == fingerprint(1, 0)
    assert (
        len({fingerprint(0, 1), fingerprint(0, 2), fingerprint(0, 1, 2), fingerprint(0, 1, mean="probabilities")}) == 4
    )


def test_one_teacher_and_teachers_of_other_classes_are_refused():
    with pytest.raises(ConfigError, match="at least two, got 1: name more"):
        AveragingTeacher([teacher(0)])
    with pytest.raises(LabelSpaceError, match=r"first has 3, teacher 3 has 3, and they share 3: leave out"):
        AveragingTeacher([teacher(0), teacher(1), teacher(2, ("b", "a", "c"))])
    with pytest.raises(LabelSpaceError, match=r"first has 3, teacher 2 has 4, and they share 2"):
        AveragingTeacher([teacher(0), teacher(1, ("a", "b", "x", "y"))])
