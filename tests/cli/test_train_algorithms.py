"""Runs by every algorithm: recorded, loaded, evaluated, exported."""

import json

import keras
import numpy as np
import pytest
from tf_trpo.cli.algorithms import make_policy_optimizer
from tf_trpo.cli.presets import parse_settings

import tf_trpo
from tf_trpo.cli import main
from tf_trpo.optimizers import KLPenalty, NaturalPolicyGradient, TrustRegion, VanillaPolicyGradient

# Nothing here is a default, so that a setting that gets lost on the way is seen.
NATURAL_DIRECTION = {
    "cg_iterations": 8,
    "cg_damping": 0.05,
    "cg_tolerance": 1e-5,
    "curvature_fraction": 0.5,
    "fisher_vector_product": "double-backprop",
}
TRUST_REGION = {
    "max_kl": 0.02,
    "constraint": "max",
    "radius": "adaptive",
    "min_radius": 0.001,
    "max_radius": 0.2,
    "shrink_below": 0.1,
    "expand_above": 0.9,
    "shrink_factor": 0.5,
    "expand_factor": 3.0,
    "backtrack_ratio": 0.7,
    "max_backtracks": 6,
}
KL_PENALTY = {
    "backtrack_ratio": 0.7,
    "max_backtracks": 6,
    "penalty": "theory",
    "penalty_coefficient": 3.0,
    "target_kl": 0.02,
    "penalty_solver": "first-order",
    "penalty_epochs": 2,
    "penalty_minibatch_size": 20,
}
RUNS = {
    "trpo": (
        TRUST_REGION | NATURAL_DIRECTION,
        TrustRegion(**TRUST_REGION, **NATURAL_DIRECTION),
    ),
    "natural-policy-gradient": (
        {"natural_max_kl": 0.02, "natural_learning_rate": 0.1, **NATURAL_DIRECTION},
        NaturalPolicyGradient(0.1, max_kl=0.02, **NATURAL_DIRECTION),
    ),
    "vanilla-policy-gradient": (
        {"vanilla_optimizer": "adam", "vanilla_learning_rate": 0.02},
        VanillaPolicyGradient(keras.optimizers.Adam(0.02)),
    ),
    "kl-penalty": (
        KL_PENALTY | NATURAL_DIRECTION | {"penalty_learning_rate": 0.004, "gamma": 0.9},
        KLPenalty(gamma=0.9, optimizer=keras.optimizers.Adam(0.004), **KL_PENALTY, **NATURAL_DIRECTION),
    ),
}
RUN = ["--hidden-sizes", 4, "--value-hidden-sizes", 4, "--num-steps", 32, "--total-steps", 64, "--eval-episodes", 2]
RUN += ["--preset", "none"]


def options(settings):
    return [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", value)]


def without_names(config):
    """Keras numbers the names of its optimizers, and keeps their rates in float32."""
    if isinstance(config, dict):
        return {key: without_names(value) for key, value in config.items() if key != "name"}
    return float(np.float32(config)) if isinstance(config, float) else config


@pytest.fixture
def run_main(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "name", [name if name == "trpo" else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_a_run_is_recorded_loaded_evaluated_and_exported(name, run_main, tmp_path, capsys):
    settings, optimizer = RUNS[name]
    run_main("train", "--algorithm", name, *options(settings), *RUN, "--no-jit-compile", "--run-dir", "run")
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert recorded["algorithm"] == name
    assert recorded == recorded | settings
    agent = tf_trpo.load(tmp_path / "run" / "agent.keras")
    assert type(agent.policy_optimizer) is type(optimizer)
    assert without_names(agent.policy_optimizer.get_config()) == without_names(optimizer.get_config())
    capsys.readouterr()
    run_main("evaluate", "run", "--episodes", 2, "--json")
    assert json.loads(capsys.readouterr().out)["episodes"] == 2
    run_main("export", "run", "--output", "model")
    assert (tmp_path / "model" / "1" / "saved_model.pb").is_file()


def test_the_settings_of_a_run_make_the_same_run_again(run_main, tmp_path):
    run_main("train", "--algorithm", "natural-policy-gradient", *RUN, "--no-jit-compile", "--run-dir", "first")
    settings = json.loads((tmp_path / "first" / "config.json").read_text())["settings"]
    (tmp_path / "again.yaml").write_text(json.dumps(settings | {"run_dir": "second"}))
    run_main("train", "--preset", "again.yaml")
    one, other = (tf_trpo.load(tmp_path / run / "agent.keras").get_weights() for run in ("first", "second"))
    assert all((first == second).all() for first, second in zip(one, other, strict=True))


def test_the_limit_falls_to_its_end_in_as_many_iterations_as_the_steps_are():
    options = ["--max-kl", "0.5", "--final-max-kl", "0.1", "--max-kl-steps", "1001"]
    settings = parse_settings([*options, "--num-envs", "4", "--num-steps", "25", "--preset", "none"], prog="train")
    schedule = make_policy_optimizer(settings).max_kl
    assert [float(schedule(step)) for step in (0, 11, 12)] == pytest.approx([0.5, 0.1, 0.1])
    assert float(schedule(10)) == pytest.approx(0.5 - 0.4 * 10 / 11)
