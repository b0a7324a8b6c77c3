"""Accuracy and cross-entropy over a split."""

import pytest
import torch
import torch.nn.functional as F

from tutelage.data import open_dataset
from tutelage.data.protocols import Standard
from tutelage.engine import EngineConfig
from tutelage.engine.evaluation import Judge, evaluate
from tutelage.engine.session import open_fabric
from tutelage.labels import LabelSpace
from tutelage.models import ModelCard, build_network
from tutelage.types import Batch, Outputs


@pytest.fixture(scope="module")
def digits():
    return open_dataset("digits")


@pytest.fixture(scope="module")
def fabric():
    return open_fabric(EngineConfig(accelerator="cpu", precision="32"))


@pytest.fixture
def judge(digits, fabric):
    return Judge(digits, fabric, Standard(validation=0.1).divide(digits.train.labels, seed=0))


@pytest.fixture
def network(digits):
    return build_network(
        ModelCard(
            model="zoo:digits_small", classes=digits.labels.names, image=(1, 8, 8), mean=digits.mean, std=digits.std
        )
    )


def batches(*sizes):
    labels = torch.arange(sum(sizes)) % 3
    return [Batch(torch.zeros(len(part), 1, 2, 2), part, part, part) for part in labels.split(sizes)]


class TestEvaluate:
    def test_unequal_batches_weigh_by_their_samples(self):
        logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
        rows = iter(logits.split([7, 1, 2]))
        score = evaluate(lambda batch: Outputs(next(rows), {}), iter(batches(7, 1, 2)))
        labels = torch.arange(10) % 3
        assert score.accuracy == (logits.argmax(1) == labels).double().mean().item()
        assert score.loss == pytest.approx(F.cross_entropy(logits, labels).item())
        assert score.images == 10

    def test_nothing_to_judge_is_no_division_by_zero(self):
        assert evaluate(lambda batch: None, iter([])) == (0.0, 0.0, 0)

    def test_the_sums_of_all_ranks_are_added_before_dividing(self):
        answer = lambda batch: Outputs(F.one_hot(batch.labels, 3) * 9.0, {})  # noqa: E731
        score = evaluate(answer, iter(batches(4)), reduce=lambda sums: sums + torch.tensor([0.0, 0.0, 12.0]))
        assert (score.accuracy, score.images) == (0.25, 16)

    def test_half_precision_is_judged_in_single(self):
        logits = torch.tensor([[0.0, 8.0, 1.0]], dtype=torch.bfloat16)
        score = evaluate(lambda batch: Outputs(logits, {}), iter(batches(1)))
        assert score.loss == pytest.approx(F.cross_entropy(logits.float(), torch.tensor([0])).item(), rel=1e-6)


class TestJudge:
    def test_the_classes_are_counted_in_the_same_pass(self, judge, network):
        score, images, right = judge.score_classes(network, "test")
        assert score == judge.score_network(network, "test")
        assert images == judge.labels("test").bincount().tolist()
        with torch.inference_mode():
            found = torch.cat([network(batch.images).logits.argmax(1) for batch in judge.batches("test")])
        labels = judge.labels("test")
        assert right == [int((found[labels == label] == label).sum()) for label in range(10)]

    def test_training_and_validation_images_are_all_images_once(self, judge, digits):
        ids = torch.cat([judge.ids["train"], judge.ids["validation"]])
        assert torch.equal(ids.sort().values, torch.arange(len(digits.train)))

    def test_labels_are_in_the_order_of_the_ids(self, judge, digits):
        assert torch.equal(judge.labels("validation"), digits.train.labels[judge.ids["validation"]])
        assert torch.equal(judge.labels("test"), digits.test.labels)

    def test_batches_show_every_image_of_the_split_plainly(self, judge, digits):
        batches = list(judge.batches("validation"))
        assert torch.equal(torch.cat([batch.ids for batch in batches]), judge.ids["validation"])
        images = torch.cat([batch.images for batch in batches])
        assert torch.equal(images, digits.train.images[judge.ids["validation"]].permute(0, 3, 1, 2))

    def test_a_network_is_judged_in_eval_mode_and_its_statistics_stay(self, judge, digits, network):
        network.train()
        before = network.fingerprint()
        score = judge.score_network(network, "test")
        assert not network.training
        assert network.fingerprint() == before
        assert score == judge.score(lambda batch: network(batch.images), "test")
        assert score.images == len(digits.test)


class Known:
    """A teacher that is sure of one class, and counts how often it is asked."""

    def __init__(self, name):
        self.fingerprint, self.asked = name, 0

    def __call__(self, batch):
        self.asked += 1
        return Outputs(F.one_hot(torch.zeros_like(batch.labels), 10).float(), {})


class TestTeachers:
    def test_a_teacher_is_measured_once_a_process(self, judge, digits, fabric):
        first, same, other = Known("counts-a"), Known("counts-a"), Known("counts-b")
        score = judge.score_teacher(first, "test")
        again = Judge(digits, fabric, Standard(validation=0.1).divide(digits.train.labels, seed=0))
        assert again.score_teacher(same, "test") == score == judge.score(first, "test")
        assert same.asked == 0
        assert judge.score_teacher(other, "test") == score
        assert other.asked > 0

    def test_on_other_images_or_labels_it_is_measured_anew(self, judge, digits, fabric):
        known = Known("counts-c")
        judge.score_teacher(known, "validation")
        seen = known.asked
        larger = Judge(digits, fabric, Standard(validation=0.3).divide(digits.train.labels, seed=0))
        assert larger.score_teacher(known, "validation").images > judge.score_teacher(known, "validation").images
        assert known.asked > seen
        fewer = digits.restricted(LabelSpace(digits.labels.names[::-1]))
        turned = Judge(fewer, fabric, Standard(validation=0.1).divide(fewer.train.labels, seed=0))
        before = judge.score_teacher(known, "test"), known.asked
        assert turned.score_teacher(known, "test") != before[0]
        assert known.asked > before[1]
