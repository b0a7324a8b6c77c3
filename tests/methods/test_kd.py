"""KD: the defaults of the literature."""

import pytest

from tutelage.errors import ConfigError
from tutelage.methods import KDConfig


def test_weights_and_temperature_are_those_of_the_literature():
    # -r 0.1 -a 0.9 and kd_T 4: README.md and train_student.py of HobbitLong/RepDistiller@b84f547
    config = KDConfig()
    assert (config.task_weight, config.weight, config.temperature) == (0.1, 0.9, 4.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ConfigError, match=f"temperature must be .*got {temperature}"):
        KDConfig(temperature=temperature)
