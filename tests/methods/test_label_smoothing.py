"""Label smoothing: it stands in the place of the cross-entropy."""

import pytest
import torch

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.methods import LabelSmoothingConfig
from tutelage.types import Batch, Outputs

LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
BATCH = Batch(torch.zeros(6, 1, 2, 2), LABELS, torch.arange(6), torch.zeros(6, dtype=torch.int64))


def logits(seed=0):
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


def terms(**settings):
    student = Outputs(logits(), {})
    return LabelSmoothingConfig(**settings).build({}, {})(student, student, BATCH)


def test_the_defaults_are_those_of_the_literature_and_there_is_no_other_cross_entropy():
    # Szegedy et al. 2016, section 7, and loss_label_smoothing in my_loss_function.py of
    # yuanli2333/Teacher-free-Knowledge-Distillation@d000ab3: 0.1, there over the other classes
    config = LabelSmoothingConfig()
    assert (config.smoothing, config.over, config.weight, config.task_weight) == (0.1, "others", 1.0, 0.0)
    assert config.teacher_free


@pytest.mark.parametrize("over", ["others", "all"])
def test_it_hands_on_its_settings(over):
    term = terms(smoothing=0.3, over=over, weight=0.5)["smoothed"]
    assert term.value.equal(losses.label_smoothing(logits(), LABELS, smoothing=0.3, over=over).mean())
    assert term.weight == 0.5


def test_without_smoothing_it_is_the_cross_entropy():
    expected = torch.nn.functional.cross_entropy(logits(), LABELS)
    torch.testing.assert_close(terms(smoothing=0.0)["smoothed"].value, expected)


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("settings", "message"),
    [({"smoothing": 1.1}, r"smoothing must be a share from 0 to 1, got 1\.1"), ({"over": "rest"}, "'all', got 'rest'")],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LabelSmoothingConfig(**settings)
