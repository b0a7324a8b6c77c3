"""CC, DIST and logit MSE: the settings of the literature, and what they hand to their losses."""

import pytest
import torch

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.methods import CCConfig, DISTConfig, LogitMSEConfig
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(6, 1, 2, 2), *3 * [torch.arange(6)])


def rows(seed, *shape):
    return torch.randn(6, *shape, generator=torch.Generator().manual_seed(seed))


def test_the_defaults_are_those_of_the_literature():
    # --lambda_kd 100 --gamma 0.4 --P_order 2: example_train_script.sh of AberHu/Knowledge-Distillation-Zoo@65470c8
    cc = CCConfig()
    assert (cc.weight, cc.gamma, cc.order) == (100.0, 0.4, 2)
    # w_rel_defaults and tau: train_student.py and distiller_zoo/DIST.py of alextxu/ckd@f8cc6bd
    dist = DISTConfig()
    assert (dist.weight, dist.beta, dist.gamma, dist.temperature) == (2.0, 1.0, 1.0, 4.0)


def test_cc_counts_a_map_as_the_vector_of_its_numbers_and_hands_on_its_settings():
    ours, theirs = rows(0, 2, 3, 3), rows(1, 4, 2, 2)
    method = CCConfig(role="stage2", gamma=0.7, order=3).build({}, {})
    assert method.needs.roles == ("stage2",)
    found = method(Outputs(ours, {"stage2": ours}), Outputs(theirs, {"stage2": theirs}), BATCH)["correlation"]
    expected = losses.correlation_congruence(ours.flatten(1), theirs.flatten(1), gamma=0.7, order=3).mean()
    assert found.value.equal(expected)


def test_dist_hands_on_its_settings():
    ours, theirs = rows(0, 4), rows(1, 4)
    found = DISTConfig(beta=0.5, gamma=2.0, temperature=3.0).build({}, {})(
        Outputs(ours, {}), Outputs(theirs, {}), BATCH
    )
    assert found["dist"].value.equal(losses.dist(ours, theirs, beta=0.5, gamma=2.0, temperature=3.0).mean())


def test_logit_mse_is_its_loss():
    ours, theirs = rows(0, 4), rows(1, 4)
    term = LogitMSEConfig(weight=0.5).build({}, {})(Outputs(ours, {}), Outputs(theirs, {}), BATCH)["logit_mse"]
    assert term.value.equal(losses.logit_mse(ours, theirs).mean())
    assert term.weight == 0.5


def test_an_expansion_without_powers_is_refused():
    with pytest.raises(ConfigError, match="order must be at least 1, got 0"):
        CCConfig(order=0)
