"""Runs by the other algorithms: recorded and loaded."""

import json

import pytest

import tf_trpo
from tf_trpo.cli import main
from tf_trpo.optimizers import (
    Backtracking,
    FirstOrder,
    KLPenalty,
    NaturalDirection,
    NaturalPolicyGradient,
    VanillaPolicyGradient,
)

# Nothing here is a default, so that a setting that gets lost on the way is seen.
DIRECTION = {
    "cg_iterations": 8,
    "cg_damping": 0.05,
    "cg_tolerance": 1e-5,
    "curvature_fraction": 0.5,
    "fisher_vector_product": "double-backprop",
    "preconditioner_rank": 32,
}
SEARCH = {"backtrack_ratio": 0.7, "max_backtracks": 6}
KL_PENALTY = {
    "penalty": "theory",
    "penalty_coefficient": 3.0,
    "target_kl": 0.02,
    "penalty_solver": "first-order",
}
FIRST_ORDER = {"penalty_epochs": 2, "penalty_minibatch_size": 20, "penalty_learning_rate": 0.004}
PARTS = {"direction": NaturalDirection(**DIRECTION), "search": Backtracking(**SEARCH)}
RUNS = {
    "natural-policy-gradient": (
        {"natural_max_kl": 0.02, "natural_learning_rate": 0.1, **DIRECTION},
        NaturalPolicyGradient(0.1, 0.02, PARTS["direction"]),
    ),
    "vanilla-policy-gradient": (
        {"vanilla_optimizer": "sgd", "vanilla_learning_rate": 0.02},
        VanillaPolicyGradient("sgd", 0.02),
    ),
    "kl-penalty": (
        KL_PENALTY | FIRST_ORDER | DIRECTION | SEARCH | {"gamma": 0.9},
        KLPenalty(**KL_PENALTY, first_order=FirstOrder(**FIRST_ORDER), **PARTS),
    ),
}
RUN = ["--hidden-sizes", 4, "--value-hidden-sizes", 4, "--num-steps", 32, "--total-steps", 64, "--eval-episodes", 2]
RUN += ["--preset", "none"]


def options(settings):
    return [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture
def run_main(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    "name", [name if name == "kl-penalty" else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_a_run_is_recorded_and_loaded(name, run_main, tmp_path):
    """Of trpo, tests/cli/test_run_from_training_to_export.py looks for every setting."""
    settings, optimizer = RUNS[name]
    run_main("train", "--algorithm", name, *options(settings), *RUN, "--no-jit-compile", "--run-dir", "run")
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert recorded["algorithm"] == name
    assert recorded == recorded | settings
    agent = tf_trpo.load(tmp_path / "run" / "agent.keras")
    assert agent.policy_optimizer == optimizer == tf_trpo.Experiment.from_run("run").algorithm


def test_the_settings_of_a_run_make_the_same_run_again_and_another_seed_another(run_main, tmp_path):
    run_main("train", "--algorithm", "natural-policy-gradient", *RUN, "--no-jit-compile", "--run-dir", "first")
    settings = json.loads((tmp_path / "first" / "config.json").read_text())["settings"]
    (tmp_path / "again.yaml").write_text(json.dumps(settings))
    run_main("train", "--preset", "again.yaml", "--run-dir", "second")
    run_main("train", "--preset", "again.yaml", "--run-dir", "other", "--seed", 1)
    one, same, other = (
        tf_trpo.load(tmp_path / run / "agent.keras").get_weights() for run in ("first", "second", "other")
    )
    assert all((first == second).all() for first, second in zip(one, same, strict=True))
    assert not all((first == second).all() for first, second in zip(one, other, strict=True))
