"""Impossible settings: exit status 2, one line that names them, and no run folder."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from tf_trpo import Experiment
from tf_trpo.extras import installation, not_installed
from tf_trpo.optimizers import ALGORITHMS

ROOT = Path(__file__).parents[2]
OUT_OF_RANGE = {
    "0 -1": (
        "num_envs num_steps total_steps eval_episodes hidden_sizes value_hidden_sizes schedule_steps max_faults "
        "chunk_size value_minibatch_size penalty_epochs penalty_minibatch_size ppo_epochs "
        "ppo_minibatch_size max_episode_steps"
    ),
    "-1": (
        "restart_every eval_every checkpoint_every histogram_every video_every threads max_backtracks value_epochs "
        "burn_in vine_states"
    ),
    "-1 2147483648": "seed",
    "0 -1 nan inf": (
        "initial_std final_std final_max_kl max_kl env_timeout value_learning_rate natural_learning_rate "
        "anchor_kl natural_max_kl vanilla_learning_rate penalty_coefficient target_kl penalty_learning_rate "
        "clip_range ppo_learning_rate ppo_target_kl max_gradient_norm"
    ),
    "-1 nan inf": (
        "observation_min_std entropy_coefficient demonstration_weight ppo_final_learning_rate "
        "margin_gain multiplier_kp multiplier_ki multiplier_kd initial_multiplier"
    ),
    "nan inf": "cost_limits",
    "-0.1 1 nan": "ema_momentum shrink_below",
    "0": "cg_iterations memory_units segment_length clone_epochs shards vine_steps",
    "1": "vine_actions",
    "1.9 1e6 nan": "memory_span",
    "0 65": "frame_stack",
    "-0.1 nan": "cg_damping",
    "-1e-6 nan": "cg_tolerance",
    "0 1 1.5 nan": "backtrack_ratio",
    "0 1.5 nan": "curvature_fraction demonstration_decay",
    "-1 4097": "preconditioner_rank",
    "-1 10001": "workers",
    "0 10001": "update_parts eval_envs",
    "-0.1 1.5 nan": "gamma gae_lambda",
    "0 nan inf": "advantage_clip max_radius",
    "monte-carlo": "value_target",
    "tahn": "activation",
    "0 nan": "min_radius",
    "0.2 1 nan": "expand_above",
    "0 1 nan": "shrink_factor",
    "1 nan inf": "expand_factor",
}
"""Values that settings cannot have, and the names of those settings."""
VALUES = {name: values.split() for values, names in OUT_OF_RANGE.items() for name in names.split()}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options_for(name):
    """Options by which the experiment has a setting."""
    algorithms = [each for each in ALGORITHMS if name in Experiment().replace(algorithm=each).flat()]
    return ["--algorithm", algorithms[0]] if algorithms else ["--radius", "adaptive"]


@pytest.mark.parametrize(("name", "values"), VALUES.items(), ids=VALUES)
def test_an_option_out_of_range_is_refused_by_its_name(name, values, refused, workplace):
    chosen = options_for(name)
    error = refused("train", "--preset", "none", *chosen, f"--{name.replace('_', '-')}={values[0]}")
    assert error.startswith(f"error: {name}")
    assert OTHER not in error
    assert not list(workplace.iterdir())
    # The others are tested in Python, where text is converted as on the command line.
    experiment = Experiment().replace(**{chosen[0].removeprefix("--"): chosen[1]})
    for value in values[1:]:
        with pytest.raises(ValueError, match=name):
            experiment.replace(**{name: value})


def test_every_number_is_tried():
    experiments = [Experiment().replace(algorithm=algorithm) for algorithm in ALGORITHMS]
    settings = [each.flat() for each in (*experiments, Experiment().replace(radius="adaptive"))]
    numbers = {name for each in settings for name, value in each.items() if type(value) in (int, float, tuple)}
    numbers -= {"wrapper", "info_keys", "costs"}
    assert numbers <= set(VALUES)


@pytest.fixture
def registered():
    """Environments with actions that are not supported, and that EnvPool has not, or has otherwise."""

    class Walk(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (2,))

        def __init__(self, action_space):
            self.action_space = action_space

    actions = {
        "TestWords-v0": gym.spaces.Text(3),
        "TestWalk-v0": gym.spaces.Discrete(2),
        "Catch-v0": gym.spaces.Discrete(3),
    }
    for name, space in actions.items():
        gym.register(name, lambda space=space: Walk(space))
    yield
    for name in actions:
        del gym.registry[name]


OTHER = "is a setting of"
SAFE = "constrained-trust-region and lagrangian-trust-region"
REFUSED = {
    # Settings of other algorithms, even with their default values.
    "--vanilla-learning-rate 0.5": f"vanilla_learning_rate {OTHER} vanilla-policy-gradient, and does nothing in trpo",
    "--penalty fixed": f"penalty {OTHER} kl-penalty, and does nothing in trpo",
    "--algorithm natural-policy-gradient --backtrack-ratio 0.5": f"backtrack_ratio {OTHER} trpo, kl-penalty, {SAFE},",
    "--algorithm vanilla-policy-gradient --max-kl 0.5": f"max_kl {OTHER} trpo, {SAFE}, and does nothing in vanilla-",
    "--algorithm vanilla-policy-gradient --cg-iterations 5": f"cg_iterations {OTHER} trpo, natural-policy-gradient, ",
    "--algorithm kl-penalty --max-kl 0.01": f"max_kl {OTHER} trpo, {SAFE}, and does nothing in kl-penalty",
    "--algorithm kl-penalty --penalty theory --gamma 1": "gamma must be in (0, 1) for the penalty of the theory, got 1",
    # Limits without costs, and costs and anchors that do not exist.
    "--cost-limits 25": f"cost_limits {OTHER} {SAFE}, and does nothing in trpo",
    "--algorithm constrained-trust-region --cost-limits 25": "cost_limits need costs, and the agent has none",
    "--algorithm lagrangian-trust-region --costs speed --cost-limits 25 3": "cost_limits has 2 limits, and the agent",
    "--algorithm lagrangian-trust-region --costs speed --cost-limits 0": "cost_limits must be positive and finite",
    "--algorithm constrained-trust-region --cost-limits 1 2 3 4 5": "cost_limits must be 1 to 4 finite numbers",
    "--algorithm constrained-trust-region --anchor-kl 1 --cost-limits 1 2 3 4": "cost_limits must be 1 to 3 finite",
    "--algorithm constrained-trust-region --costs speed --cost-limits much": "cost_limits must be a tuple of numbers",
    "--costs speed speed": "costs must be names that differ",
    "--costs nowhere:cost": "cost nowhere:cost makes Python import the module 'nowhere', which runs its code: add",
    "--costs nowhere:cost --allow-import": "the module of the cost nowhere:cost cannot be imported: No module named",
    "--costs math:cost --allow-import": "the cost math:cost: the module has no such function",
    "--costs speed --algorithm lagrangian-trust-region": "cost_limits has 0 limits, and the agent has 1 costs",
    "--anchor-kl 0.1": "anchor_kl is given without an anchor: TrustRegion needs both or neither",
    "--anchor nowhere.keras --anchor-kl 0.1": "nowhere.keras cannot be loaded: No such file or directory",
    # What cannot be read.
    "--total-steps many": "total_steps must be a whole number, got 'many'",
    "--total-steps 1.5": "total_steps must be a whole number, got '1.5'",
    "--max_kl small": "max_kl must be a number or None, got 'small'",
    "--backend ray": "backend must be one of sync, async, envpool, vector, got 'ray'",
    "--hidden-sizes 8 x": "hidden_sizes must be a tuple of whole numbers",
    "--seed": "argument --seed: expected one argument; see train --help",
    "--preset": "argument --preset: expected one argument; see train --help",
    "--quiet=yes": "argument --quiet/--no-quiet: ignored explicit argument 'yes'; see train --help",
    "surplus": "unrecognized options: surplus; see train --help",
    "--total-stepps 3": "unrecognized options: --total-stepps 3; there is --total-steps; see train --help",
    "--run x": "unrecognized options: --run x",
    # What a memory excludes, also if a preset sets it.
    "--env Acrobot-v1 --memory gru": "memory and mirror exclude each other, since an observation and its image would n",
    "--memory gru --num-steps 128 --segment-length 48": "num_steps must be a multiple of segment_length, 48, got 128",
    "--memory gru --num-steps 257": "num_steps must be a multiple of a number in [64, 256], such as 256, if segment_",
    # What the environment does not have.
    "--final-std 0.1": "final_std",
    "--clipped-likelihood": "clipped_likelihood",
    "--state-dependent-std": "state_dependent_std",
    "--env MountainCar-v0 --mirror": "mirror: no symmetry of MountainCar-v0 is known; Acrobot-v1, Ant-v5, CartPole-v1",
    "--env TestWords-v0": "the action space Text(1, 3, charset=",
    # What EnvPool does not have, or has otherwise.
    "--env TestWalk-v0 --backend envpool": "EnvPool has no environment 'TestWalk-v0'",
    "--env Catch-v0 --backend envpool": "the agent observes array of shape (2,), the environment gives",
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.items(), ids=REFUSED)
def test_impossible_settings_are_refused_before_a_folder_is_made(arguments, message, registered, refused, workplace):
    if "envpool" in arguments:
        pytest.importorskip("envpool")
    assert refused("train", *arguments.split()).startswith(f"error: {message}")
    assert not list(workplace.iterdir())


@pytest.mark.parametrize("backend", ["sync", "envpool"])
def test_an_unknown_environment_is_refused(backend, refused, workplace):
    for env in ("CartPoole-v1", "CartPole-v99", "no//id", "", "nowhere/CartPole-v1", "nomodule:Env-v0"):
        refused("train", "--preset", "none", "--env", env, "--backend", backend)
    assert not list(workplace.iterdir())


def test_one_line_is_printed_even_if_standard_error_is_not_utf_8(workplace):
    command = [sys.executable, "-m", "tf_trpo", "train", "\u2192\x1b[31m3\n4"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unrecognized options: \\u2192\\x1b[31m3 4; see train --help\n"


def test_envpool_that_is_not_installed_is_refused_before_a_folder_is_made(monkeypatch, refused, workplace):
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert str(not_installed("envpool")) in refused("train", "--backend", "envpool")
    assert not list(workplace.iterdir())


def test_filming_without_pygame_is_refused_before_a_folder_is_made(monkeypatch, refused, workplace, tmp_path_factory):
    # The process that draws frames has the same sys.path.
    modules = tmp_path_factory.mktemp("modules")
    (modules / "pygame.py").write_text("raise ModuleNotFoundError('No module named pygame', name='pygame')")
    monkeypatch.syspath_prepend(modules)
    error = refused("train", "--video-every", "1000")
    assert "CartPole-v1 cannot be filmed" in error
    assert installation("play") in error
    assert not list(workplace.iterdir())


def test_a_run_folder_that_exists_is_refused_and_not_changed(small, refused, workplace):
    folder = workplace / "run"
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    error = refused("train", *small, "--run-dir", folder)
    assert error.startswith(f"error: {folder}: the run folder exists: train into another folder (--run-dir)")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"config.json": "mine"}


def test_a_run_folder_that_cannot_be_made_is_refused_and_leaves_no_parent_folder(small, refused, workplace):
    (workplace / "file").write_text("mine")
    for folder in (workplace / "file" / "run", workplace / "new" / "newer" / ("x" * 300)):
        assert "cannot be made" in refused("train", *small, "--run-dir", folder)
    assert {path.name: path.read_text() for path in workplace.iterdir()} == {"file": "mine"}
