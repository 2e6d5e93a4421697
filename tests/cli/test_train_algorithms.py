"""Runs with the other algorithms are recorded and loaded."""

import json

import pytest

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.cli.train import read_command
from tf_trpo.experiment import RunFolder
from tf_trpo.optimizers import (
    Backtracking,
    ClippedSurrogate,
    EntropyBonus,
    FirstOrder,
    KLPenalty,
    NaturalDirection,
    NaturalPolicyGradient,
    VanillaPolicyGradient,
)

# No value is a default, so that a setting that gets lost is noticed.
DIRECTION = {
    "cg_iterations": 8,
    "cg_damping": 0.05,
    "cg_tolerance": 1e-5,
    "curvature_fraction": 0.5,
    "fisher_vector_product": "double-backprop",
    "preconditioner_rank": 32,
}
SEARCH = {"backtrack_ratio": 0.7, "max_backtracks": 6}
KL_PENALTY = {"penalty": "theory", "penalty_coefficient": 3.0, "target_kl": 0.02, "penalty_solver": "first-order"}
FIRST_ORDER = {"penalty_epochs": 2, "penalty_minibatch_size": 20, "penalty_learning_rate": 0.004}
PPO = {
    "clip_range": 0.1,
    "ppo_epochs": 2,
    "ppo_minibatch_size": 20,
    "ppo_learning_rate": 0.004,
    "ppo_final_learning_rate": 0.001,
    "ppo_target_kl": 0.5,
    "max_gradient_norm": 0.7,
}
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
    "ppo": (
        PPO | {"entropy_coefficient": 0.02},
        ClippedSurrogate(**PPO, entropy=EntropyBonus(0.02)),
    ),
    "kl-penalty": (
        KL_PENALTY | FIRST_ORDER | DIRECTION | SEARCH | {"gamma": 0.9},
        KLPenalty(**KL_PENALTY, first_order=FirstOrder(**FIRST_ORDER), **PARTS),
    ),
}


def options(settings):
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]


@pytest.mark.parametrize(
    "name", [name if name == "kl-penalty" else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_a_run_is_recorded_and_loaded(name, small, tmp_path):
    """For trpo, tests/cli/test_run_from_training_to_export.py checks every setting."""
    settings, optimizer = RUNS[name]
    folder = RunFolder(tmp_path / "run")
    main(["train", *small, "--algorithm", name, *options(settings), "--run-dir", str(folder.path)])
    recorded = folder.read_config()["settings"]
    assert recorded["algorithm"] == name
    assert recorded == recorded | settings
    assert tf_trpo.load(folder.agent).policy_optimizer == optimizer == Experiment.from_run(folder.path).algorithm


def test_the_settings_of_a_run_are_a_preset_of_the_same_run(finished, tmp_path):
    (tmp_path / "again.json").write_text(json.dumps(finished.folder.read_config()["settings"]))
    assert read_command(["--preset", str(tmp_path / "again.json")]).experiment == Experiment.from_run(
        finished.folder.path
    )
