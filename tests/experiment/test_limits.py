"""Numbers that are too large are refused before anything is allocated for them."""

import pytest

from tf_trpo import Experiment
from tf_trpo.experiment.limits import LARGEST_INTEGER, check_limits
from tf_trpo.experiment.settings import RolloutSettings

DEFAULTS = Experiment().flat()
INTEGERS = [name for name, value in DEFAULTS.items() if type(value) is int]
FLOATS = [name for name, value in DEFAULTS.items() if type(value) is float] + ["final_std", "final_max_kl"]


@pytest.mark.parametrize("name", INTEGERS)
def test_an_integer_has_a_limit(name):
    with pytest.raises(ValueError, match=f"{name} must be .*, got 1{'0' * 18}"):
        Experiment().replace(**{name: 10**18})


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [1.1e30, -1e31, float("inf")])
def test_a_float_that_float32_cannot_hold_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Experiment().replace(**{name: value})


def test_an_integer_without_a_range_is_limited_by_its_type():
    check_limits({"penalty_minibatch_size": LARGEST_INTEGER, "value_epochs": 10_000, "text": "x", "none": None})
    with pytest.raises(ValueError, match=f"penalty_minibatch_size must be at most {LARGEST_INTEGER}"):
        check_limits({"penalty_minibatch_size": LARGEST_INTEGER + 1})
    with pytest.raises(ValueError, match="value_epochs must be at most 10000"):
        check_limits({"value_epochs": 10_001})


@pytest.mark.parametrize("name", ["hidden_sizes", "value_hidden_sizes"])
@pytest.mark.parametrize(
    "sizes", [(10**9,), (8, 20_000), (16_384, 16_384, 16_384), (8,) * 65], ids=["1", "2", "3", "65"]
)
def test_a_network_too_large_is_refused(name, sizes):
    with pytest.raises(ValueError, match=f"{name} must be at most"):
        Experiment().replace(**{name: sizes})
    Experiment().replace(**{name: (16_384, 16_384)})


def test_a_rollout_too_large_is_refused_though_its_sides_are_not():
    RolloutSettings(num_envs=10_000, num_steps=5000)
    with pytest.raises(ValueError, match="num_envs times num_steps must be at most 50000000, got 50010000"):
        RolloutSettings(num_envs=10_000, num_steps=5001)


@pytest.mark.parametrize("option", ["--num-envs", "--num-steps", "--hidden-sizes", "--value-hidden-sizes", "--threads"])
def test_the_command_line_has_them(option, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "must be at most" in refused("train", option, 10**9)
    assert not list(tmp_path.iterdir())
