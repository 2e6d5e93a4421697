"""Numbers that are too large are refused before anything is allocated for them."""

import pytest

from tf_trpo import Experiment
from tf_trpo.experiment.settings import RolloutSettings
from tf_trpo.learning import UpdateSettings
from tf_trpo.optimizers import ALGORITHMS, FirstOrder
from tf_trpo.ranges import LARGEST_INTEGER

SETTINGS = {
    (algorithm, name): value
    for algorithm in ALGORITHMS
    for name, value in Experiment().replace(algorithm=algorithm).flat().items()
    if algorithm == "trpo" or name not in Experiment().flat()
}
INTEGERS = [setting for setting, value in SETTINGS.items() if type(value) is int]
FLOATS = [setting for setting, value in SETTINGS.items() if type(value) is float]
FLOATS += [("trpo", "final_std"), ("trpo", "final_max_kl"), ("trpo", "advantage_clip"), ("trpo", "ema_momentum")]


@pytest.mark.parametrize(("algorithm", "name"), INTEGERS)
def test_an_integer_has_a_limit(algorithm, name):
    with pytest.raises(ValueError, match=f"{name} must be .*, got 1{'0' * 18}"):
        Experiment().replace(algorithm=algorithm, **{name: 10**18})


@pytest.mark.parametrize(("algorithm", "name"), FLOATS)
@pytest.mark.parametrize("value", [1.1e30, float("inf")])
def test_a_float_that_float32_cannot_hold_is_refused(algorithm, name, value):
    with pytest.raises(ValueError, match=name):
        Experiment().replace(algorithm=algorithm, **{name: value})


def test_an_integer_without_an_end_is_limited_by_its_type():
    FirstOrder(penalty_minibatch_size=LARGEST_INTEGER)
    with pytest.raises(ValueError, match=f"penalty_minibatch_size must be at most {LARGEST_INTEGER}"):
        FirstOrder(penalty_minibatch_size=LARGEST_INTEGER + 1)
    with pytest.raises(ValueError, match=r"value_epochs must be in \[0, 10000\]"):
        UpdateSettings(value_epochs=10_001)


@pytest.mark.parametrize("name", ["hidden_sizes", "value_hidden_sizes"])
@pytest.mark.parametrize(
    "sizes", [(10**9,), (8, 20_000), (16_384, 16_384, 16_384), (8,) * 65], ids=["1", "2", "3", "65"]
)
def test_a_network_that_is_too_large_is_refused(name, sizes):
    with pytest.raises(ValueError, match=f"{name} must be at most"):
        Experiment().replace(**{name: sizes})
    Experiment().replace(**{name: (16_384, 16_384)})


def test_a_rollout_that_is_too_large_is_refused_though_its_sides_are_allowed():
    RolloutSettings(num_envs=10_000, num_steps=5000)
    with pytest.raises(ValueError, match="num_envs times num_steps must be at most 50000000, got 50010000"):
        RolloutSettings(num_envs=10_000, num_steps=5001)
