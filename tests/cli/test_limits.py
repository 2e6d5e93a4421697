"""Numbers that are too large are refused before anything is allocated for them."""

import pytest
from tf_trpo.cli.limits import LARGEST, LARGEST_INTEGER, check_limits
from tf_trpo.cli.settings import TrainSettings

from tf_trpo.cli.errors import UsageError

INTEGERS = [name for name, value in TrainSettings().flat().items() if type(value) is int]
FLOATS = [name for name, value in TrainSettings().flat().items() if type(value) is float] + ["natural_learning_rate"]


def test_the_defaults_are_within_the_limits():
    check_limits(TrainSettings().flat())


@pytest.mark.parametrize("name", INTEGERS)
def test_an_integer_has_a_limit(name):
    largest = LARGEST.get(name, LARGEST_INTEGER)
    check_limits({name: largest})
    with pytest.raises(UsageError, match=f"{name} must be at most {largest}, got {largest + 1}"):
        check_limits({name: largest + 1})


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [1.1e30, -1e31, float("inf")])
def test_a_float_that_float32_cannot_hold_is_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} must be at most 1e"):
        check_limits({name: value})


@pytest.mark.parametrize("name", ["hidden_sizes", "value_hidden_sizes"])
@pytest.mark.parametrize(
    "sizes", [(10**9,), (8, 20_000), (16_384, 16_384, 16_384), (8,) * 65], ids=["1", "2", "3", "65"]
)
def test_a_network_too_large_is_refused(name, sizes):
    with pytest.raises(UsageError, match=f"{name} must be at most"):
        check_limits({name: sizes})
    check_limits({name: (16_384, 16_384)})


def test_a_rollout_too_large_is_refused_though_its_sides_are_not():
    check_limits({"num_envs": 10_000, "num_steps": 5000})
    with pytest.raises(UsageError, match="num_envs times num_steps must be at most 50000000, got 10000 times 5001"):
        check_limits({"num_envs": 10_000, "num_steps": 5001})


@pytest.mark.parametrize("option", ["--num-envs", "--num-steps", "--hidden-sizes", "--value-hidden-sizes", "--threads"])
def test_the_command_line_has_them(option, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "must be at most" in refused("train", option, 10**9)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["update", "--num-steps", 10**12],
        ["roofline", "--hidden-sizes", "8", 10**9],
        ["scaling", "--samples", 10**12],
        ["learn", "--seeds", 10**9],
    ],
    ids=str,
)
def test_so_has_the_benchmark(arguments, refused):
    assert "must be at most" in refused("benchmark", *arguments)
