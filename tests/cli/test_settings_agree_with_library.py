"""The command line's defaults and choices are the library's."""

import dataclasses
import inspect
from typing import get_args, get_type_hints

import pytest
from tf_trpo.cli.algorithms import make_policy_optimizer
from tf_trpo.cli.settings import (
    AlgorithmSettings,
    EnvironmentSettings,
    KLPenaltySettings,
    NaturalDirectionSettings,
    TrainSettings,
    TrustRegionSettings,
    ValueSettings,
)

import tf_trpo
from tf_trpo.environments import VectorBackend
from tf_trpo.optimizers import KLPenalty, NaturalPolicyGradient, TrustRegion, VanillaPolicyGradient
from tf_trpo.optimizers.kl_penalty import Penalty, PenaltySolver
from tf_trpo.optimizers.objective import FisherVectorProduct
from tf_trpo.optimizers.trust_region import Constraint, Radius
from tf_trpo.training import UpdateSettings
from tf_trpo.training.learner import ValueTarget


def defaults_of(function):
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def library_defaults():
    """(where, name, default) of everything that the library and the command line may both set."""
    for_env = defaults_of(tf_trpo.TRPO.for_env)
    # The library draws weights at random unless it is told not to; the command line always says.
    del for_env["seed"]
    sources = {
        "TrustRegion": tf_trpo.optimizers.TrustRegion().get_config(),
        "UpdateSettings": dataclasses.asdict(UpdateSettings()),
        "TRPO.for_env": for_env,
        "TRPO.compile": defaults_of(tf_trpo.TRPO.compile),
        "TRPO.fit": defaults_of(tf_trpo.TRPO.fit),
    }
    return [(where, name, value) for where, values in sources.items() for name, value in values.items()]


SHARED = [entry for entry in library_defaults() if entry[1] in TrainSettings().flat()]


@pytest.mark.parametrize(("where", "name", "default"), SHARED, ids=[f"{where}.{name}" for where, name, _ in SHARED])
def test_a_default_is_that_of_the_library(where, name, default):
    value = TrainSettings().flat()[name]
    assert value == default
    assert type(value) is type(default)


def test_every_number_of_the_algorithm_can_be_set():
    shared = {(where, name) for where, name, _ in SHARED}
    wanted = {
        *(("TrustRegion", name) for name in tf_trpo.optimizers.TrustRegion().get_config()),
        *(("UpdateSettings", field.name) for field in dataclasses.fields(UpdateSettings)),
        *(("TRPO.for_env", name) for name in ("hidden_sizes", "value_hidden_sizes", "activation", "initial_std")),
        *(("TRPO.for_env", name) for name in ("state_dependent_std", "normalize_observations", "function_preserving")),
        *(("TRPO.for_env", name) for name in ("observation_min_std", "mirror", "ema_momentum")),
        *(("TRPO.fit", name) for name in ("num_envs", "num_steps", "backend", "seed", "restart_every")),
        ("TRPO.compile", "jit_compile"),
    }
    assert wanted <= shared


def test_the_learning_rate_of_the_value_function_is_that_of_the_library():
    agent = tf_trpo.TRPO.for_env("CartPole-v1", hidden_sizes=[4], value_hidden_sizes=[4])
    assert type(agent.optimizer).__name__ == "Adam"
    assert float(agent.optimizer.learning_rate) == pytest.approx(TrainSettings().value.value_learning_rate)


def test_the_last_evaluation_runs_as_many_episodes_as_the_library():
    assert TrainSettings().run.eval_episodes == defaults_of(tf_trpo.TRPO.evaluate)["episodes"]


@pytest.mark.parametrize(
    ("settings", "name", "choices"),
    [
        (EnvironmentSettings, "backend", VectorBackend),
        (NaturalDirectionSettings, "fisher_vector_product", FisherVectorProduct),
        (TrustRegionSettings, "constraint", Constraint),
        (TrustRegionSettings, "radius", Radius),
        (KLPenaltySettings, "penalty", Penalty),
        (KLPenaltySettings, "penalty_solver", PenaltySolver),
        (ValueSettings, "value_target", ValueTarget),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_choices_are_those_of_the_library(settings, name, choices):
    assert get_args(get_type_hints(settings)[name]) == get_args(choices)


DEFAULT_OPTIMIZERS = {
    "trpo": TrustRegion,
    "natural-policy-gradient": NaturalPolicyGradient,
    "vanilla-policy-gradient": VanillaPolicyGradient,
    "kl-penalty": KLPenalty,
}


@pytest.mark.parametrize("algorithm", DEFAULT_OPTIMIZERS)
def test_an_algorithm_without_settings_is_that_of_the_library(algorithm):
    made = make_policy_optimizer(TrainSettings(algorithm=AlgorithmSettings(algorithm)))
    default = DEFAULT_OPTIMIZERS[algorithm]()
    assert type(made) is type(default)
    configs = [one.get_config() for one in (made, default)]
    for config in configs:
        # Keras numbers the names of its optimizers.
        config.get("optimizer", {}).get("config", {}).pop("name", None)
    assert configs[0] == configs[1]


def test_there_is_an_algorithm_for_every_choice():
    assert get_args(get_type_hints(AlgorithmSettings)["algorithm"]) == tuple(DEFAULT_OPTIMIZERS)


def test_every_setting_is_explained():
    """Each field has a docstring, which --help shows; no two groups share a name."""
    names = [
        field.name
        for group in dataclasses.fields(TrainSettings)
        for field in dataclasses.fields(getattr(TrainSettings(), group.name))
    ]
    assert len(names) == len(set(names))
    assert set(TrainSettings().flat()) == set(names)
