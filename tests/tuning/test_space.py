"""Search spaces: YAML and back, refusals, and default spaces."""

import re

import gymnasium as gym
import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo import Experiment
from tf_trpo.experiment.conversion import leaves
from tf_trpo.optimizers import ALGORITHMS
from tf_trpo.tuning.search import written_out
from tf_trpo.tuning.space import (
    NOT_SEARCHED,
    Choice,
    Range,
    check_space,
    default_space,
    parsed_space,
    plain_space,
    read_space,
    values_in,
)

SPACE = {
    "max_kl": Range(0.003, 0.3, log=True),
    "value_epochs": Range(2, 40),
    "num_steps": Choice((64, 128)),
    "hidden_sizes": Choice(((64, 64), (128,), ())),
    "value_learning_rate": Choice((None, 0.001)),
    "normalize_rewards": Choice((True, False)),
    "activation": Choice(("tanh", "relu")),
}


def test_a_space_survives_its_file(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(plain_space(SPACE)))
    assert read_space(path) == SPACE
    check_space(SPACE, Experiment())


def test_a_file_is_read_as_people_write_it(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "max_kl: {low: 1e-3, high: 1, log: true}\ncg_damping: [1e-2, 0.1]\nhidden_sizes: [[64], [64, 64]]\n"
    )
    assert read_space(path) == {
        "max_kl": Range(0.001, 1.0, log=True),
        "cg_damping": Choice((0.01, 0.1)),
        "hidden_sizes": Choice(((64,), (64, 64))),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_kl: {low: 0.1, high: 0.1}", "max_kl: high must be larger than low, 0.1, got 0.1"),
        ("max_kl: {low: 0, high: 0.1, log: true}", "max_kl: low must be positive if log is true"),
        ("max_kl: {low: x, high: 0.1}", "max_kl: max_kl must be a number or None, got 'x'"),
        ("max_kl: {low: .nan, high: 0.1}", "max_kl: low must be a finite number"),
        ("max_kl: {low: 0.1}", "max_kl: a range must be given by low, high and log"),
        ("max_kl: {low: 0.1, high: 1, step: 2}", "max_kl: a range must be given by low, high and log"),
        ("max_kl: {low: 0.1, high: 1, log: 3}", "max_kl: log must be true or false, got 3"),
        ("max_kl: [0.1]", "max_kl: a choice must be between two values or more"),
        ("max_kl: [0.1, 0.1]", "max_kl: a choice must be between different values"),
        ("max_kl: 0.1", "max_kl: it must be a list of values, or a range with low and high, got 0.1"),
        ("value_epochs: {low: 1.5, high: 3}", "value_epochs: value_epochs must be a whole number"),
        ("[max_kl]", "must hold lines of the form"),
        ("max_kl: {", "is not YAML"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_setting(text, message, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"space\.yaml") as error:
        read_space(path)
    assert message in str(error.value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=8
)
RANGES = st.fixed_dictionaries({"low": ANYTHING, "high": ANYTHING}, optional={"log": ANYTHING})


@given(st.dictionaries(st.sampled_from(sorted(leaves(Experiment))) | SCALARS, ANYTHING | RANGES, max_size=3) | ANYTHING)
@hypothesis.settings(max_examples=300)
def test_whatever_a_file_holds_is_a_space_that_can_be_searched_or_refused(found):
    try:
        space = parsed_space(found, "search space x.yaml")
        check_space(space, Experiment())
    except ValueError:
        return
    assert parsed_space(plain_space(space), "") == space


def test_a_missing_file_is_refused():
    with pytest.raises(ValueError, match=r"search space nothing\.yaml cannot be read"):
        read_space("nothing.yaml")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "the search space must be of at least one setting"),
        ({"max_lk": Range(0.1, 1.0)}, "unknown settings: max_lk; there is max_kl"),
        ({"activation": Range(0.1, 1.0)}, "activation is not a number"),
        ({"normalize_rewards": Range(0, 1)}, "normalize_rewards is not a number"),
        ({"natural_max_kl": Range(0.1, 1.0)}, "natural_max_kl is a setting of natural-policy-gradient"),
        ({"gamma": Range(0.9, 1.1)}, "gamma must be in"),
        ({"gamma": Choice((0.9, 1.1))}, "gamma must be in"),
        *(({name: Choice((1, 2))}, f"{name} cannot be searched") for name in sorted(NOT_SEARCHED)),
    ],
)
def test_settings_that_cannot_be_searched_are_refused(space, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_space(space, Experiment())


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_default_space_can_be_searched_and_has_the_default_settings(algorithm, continuous):
    actions = gym.spaces.Box(-1, 1, (3,)) if continuous else gym.spaces.Discrete(3)
    experiment = written_out(Experiment().replace(algorithm=algorithm), actions)
    space = default_space(experiment)
    check_space(space, experiment)
    assert parsed_space(plain_space(space), "") == space
    assert values_in(space, experiment).keys() == space.keys()
    assert ("initial_std" in space) == continuous
    sizes = {"max_kl", "natural_max_kl", "vanilla_learning_rate", "target_kl", "ppo_learning_rate"}
    assert len(sizes & space.keys()) == 1
    assert {"gamma", "gae_lambda", "num_steps", "value_epochs"} <= space.keys()


@pytest.mark.parametrize(("dimensions", "ends"), [(3, (0.006, 0.1)), (6, (0.012, 0.1)), (17, (0.02, 0.1))])
def test_limits_of_the_default_space_lie_within_those_of_an_adaptive_radius(dimensions, ends):
    experiment = written_out(Experiment().replace(radius="adaptive"), gym.spaces.Box(-1, 1, (dimensions,)))
    space = default_space(experiment)
    check_space(space, experiment)
    assert space["max_kl"] == Range(*ends, log=True)
    assert values_in(space, experiment).keys() == space.keys()
    still = experiment.replace(max_kl=0.1, min_radius=0.1)
    assert "max_kl" not in default_space(still)


PENALTIES = {"target_kl", "penalty_coefficient", "penalty_learning_rate", "cg_damping"}
NATURAL = {"natural_learning_rate", "natural_max_kl", "cg_damping"}


@pytest.mark.parametrize(
    ("algorithm", "settings", "group", "searched"),
    [
        ("kl-penalty", {}, PENALTIES, {"target_kl", "cg_damping"}),
        ("kl-penalty", {"penalty": "fixed"}, PENALTIES, {"penalty_coefficient", "cg_damping"}),
        ("kl-penalty", {"penalty": "theory"}, PENALTIES, {"cg_damping"}),
        ("kl-penalty", {"penalty_solver": "first-order"}, PENALTIES, {"target_kl", "penalty_learning_rate"}),
        ("natural-policy-gradient", {}, NATURAL, {"natural_max_kl", "cg_damping"}),
        ("natural-policy-gradient", {"natural_learning_rate": 0.1}, NATURAL, {"natural_learning_rate", "cg_damping"}),
        ("trpo", {}, {"value_learning_rate", "cg_damping"}, {"value_learning_rate", "cg_damping"}),
        ("trpo", {"value_epochs": 0, "cg_damping": 0}, {"value_learning_rate", "cg_damping"}, set()),
    ],
)
def test_settings_without_effect_are_not_in_the_default_space(algorithm, settings, group, searched):
    experiment = written_out(Experiment().replace(algorithm=algorithm, **settings), gym.spaces.Discrete(3))
    space = default_space(experiment)
    check_space(space, experiment)
    assert group & space.keys() == searched


@pytest.mark.parametrize("preset", ["Humanoid-v5", "Pendulum-v1", "LunarLanderContinuous-v3"])
def test_the_default_space_lies_around_a_preset(preset):
    experiment = Experiment.from_preset(preset)
    space = default_space(experiment)
    check_space(space, experiment)
    assert values_in(space, experiment).keys() == space.keys()


def test_settings_that_are_fixed_are_not_in_the_default_space():
    whole = default_space(Experiment.from_preset("Pendulum-v1"))
    rest = default_space(Experiment.from_preset("Pendulum-v1"), ("gamma", "max_kl", "hidden_sizes"))
    assert rest == {name: values for name, values in whole.items() if name not in ("gamma", "max_kl")}


@pytest.mark.parametrize(
    ("settings", "lengths", "epochs"),
    [
        ({"memory": "gru", "segment_length": 64, "num_steps": 64}, Choice((64, 128, 256)), Range(2, 40, log=True)),
        ({"memory": "gru", "num_steps": 64, "num_envs": 2}, Choice((16, 32, 64, 128, 256)), Range(2, 40, log=True)),
        ({"vine_states": 64, "num_steps": 64}, Choice((64, 128, 256)), Range(2, 40, log=True)),
        ({"value_epochs": 4000}, Choice((512, 1024, 2048, 4096, 8192)), Range(1000, 8000, log=True)),
        ({"value_epochs": 10_000}, Choice((512, 1024, 2048, 4096, 8192)), None),
    ],
)
def test_the_default_space_has_only_values_that_the_other_settings_allow(settings, lengths, epochs):
    experiment = Experiment().replace(**settings)
    space = default_space(experiment)
    check_space(space, experiment)
    assert (space["num_steps"], space.get("value_epochs")) == (lengths, epochs)


def test_a_beta_distribution_has_no_standard_deviation_to_search():
    beta = written_out(Experiment().replace(distribution="beta"), gym.spaces.Box(-1, 1, (3,)))
    assert "initial_std" not in default_space(beta)
    check_space(default_space(Experiment().replace(value_epochs=0)), Experiment())


def test_defaults_that_depend_on_the_actions_are_written_out():
    found = written_out(Experiment(), gym.spaces.Box(-1, 1, (8,))).flat()
    assert (found["max_kl"], found["initial_std"]) == pytest.approx((0.08, 0.5))
    given = Experiment().replace(max_kl=0.3, initial_std=2.0)
    assert written_out(given, gym.spaces.Box(-1, 1, (8,))) == given


def test_only_values_in_the_space_are_returned():
    space = {"max_kl": Range(0.1, 1.0), "gamma": Choice((0.9, 0.99)), "value_learning_rate": Range(1e-4, 1e-2)}
    assert values_in(space, Experiment()) == {"gamma": 0.99, "value_learning_rate": 0.001}
    space["value_learning_rate"] = Choice((None, 0.01))
    assert values_in(space, Experiment()) == {"gamma": 0.99, "value_learning_rate": None}
