"""Settings that make no sense: exit status 2, one line that names them, and no run folder."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from tf_trpo import Experiment
from tf_trpo.optimizers import ALGORITHMS

ROOT = Path(__file__).parents[2]
OUT_OF_RANGE = {
    "num_envs": ["0", "-1"],
    "restart_every": ["-1"],
    "num_steps": ["0", "-1"],
    "total_steps": ["0", "-1"],
    "seed": ["-1", str(2**31)],
    "eval_every": ["-1"],
    "eval_episodes": ["0", "-1"],
    "checkpoint_every": ["-1"],
    "histogram_every": ["-1"],
    "video_every": ["-1"],
    "threads": ["-1"],
    "hidden_sizes": ["0", "-4"],
    "value_hidden_sizes": ["0", "-4"],
    "initial_std": ["0", "-1", "nan", "inf"],
    "observation_min_std": ["-1", "nan", "inf"],
    "ema_momentum": ["-0.1", "1", "nan"],
    "final_std": ["0", "-1", "nan", "inf"],
    "final_max_kl": ["0", "-1", "nan", "inf"],
    "schedule_steps": ["0", "-1"],
    "max_kl": ["0", "-0.01", "nan", "inf"],
    "cg_iterations": ["0"],
    "cg_damping": ["-0.1", "nan"],
    "cg_tolerance": ["-1e-6", "nan"],
    "backtrack_ratio": ["0", "1", "1.5", "nan"],
    "max_backtracks": ["-1"],
    "curvature_fraction": ["0", "1.5", "nan"],
    "preconditioner_rank": ["-1", "4097"],
    "max_faults": ["0", "-1"],
    "env_timeout": ["0", "-1", "nan", "inf"],
    "chunk_size": ["0", "-1"],
    "gamma": ["-0.1", "1.5", "nan"],
    "gae_lambda": ["-0.1", "1.5", "nan"],
    "value_learning_rate": ["0", "-1", "nan", "inf"],
    "value_epochs": ["-1"],
    "advantage_clip": ["0", "nan", "inf"],
    "value_target": ["monte-carlo"],
    "value_minibatch_size": ["0", "-1"],
    "activation": ["tahn"],
    "natural_learning_rate": ["0", "-1", "nan", "inf"],
    "natural_max_kl": ["0", "-1", "nan", "inf"],
    "vanilla_learning_rate": ["0", "-1", "nan", "inf"],
    "min_radius": ["0", "nan"],
    "max_radius": ["0", "nan", "inf"],
    "shrink_below": ["-0.1", "1", "nan"],
    "expand_above": ["0.2", "1", "nan"],
    "shrink_factor": ["0", "1", "nan"],
    "expand_factor": ["1", "nan", "inf"],
    "penalty_coefficient": ["0", "-1", "nan", "inf"],
    "target_kl": ["0", "-1", "nan", "inf"],
    "penalty_epochs": ["0", "-1"],
    "penalty_minibatch_size": ["0", "-1"],
    "penalty_learning_rate": ["0", "-1", "nan", "inf"],
}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options_for(name):
    """What makes a setting one of those that the experiment has."""
    algorithms = [each for each in ALGORITHMS if name in Experiment().replace(algorithm=each).flat()]
    return ["--algorithm", algorithms[0]] if algorithms else ["--radius", "adaptive"]


@pytest.mark.parametrize(("name", "values"), OUT_OF_RANGE.items(), ids=OUT_OF_RANGE)
def test_an_option_out_of_range_is_refused_by_its_name(name, values, refused, workplace):
    chosen = options_for(name)
    error = refused("train", "--preset", "none", *chosen, f"--{name.replace('_', '-')}={values[0]}")
    assert error.startswith(f"error: {name} ")
    assert "is a setting of" not in error
    assert not list(workplace.iterdir())
    # The others in Python: what is given as text is converted as on the command line.
    experiment = Experiment().replace(**{chosen[0].removeprefix("--"): chosen[1]})
    for value in values[1:]:
        with pytest.raises(ValueError, match=name):
            experiment.replace(**{name: value})


@pytest.mark.parametrize(
    ("algorithm", "option", "value", "owners"),
    [
        ("trpo", "vanilla_learning_rate", "0.5", "vanilla-policy-gradient"),
        ("natural-policy-gradient", "backtrack_ratio", "0.5", "trpo and kl-penalty"),
        ("vanilla-policy-gradient", "max_kl", "0.5", "trpo"),
        ("vanilla-policy-gradient", "cg_iterations", "5", "trpo and natural-policy-gradient and kl-penalty"),
        ("kl-penalty", "max_kl", "0.01", "trpo"),
        ("trpo", "penalty", "fixed", "kl-penalty"),
    ],
)
def test_a_setting_of_another_algorithm_is_refused_even_at_its_default(
    algorithm, option, value, owners, refused, workplace
):
    error = refused("train", "--algorithm", algorithm, f"--{option.replace('_', '-')}", value)
    assert error == f"error: {option} is a setting of {owners}, and does nothing in {algorithm}"
    assert not list(workplace.iterdir())


def test_a_theory_without_discount_is_refused(refused, workplace):
    error = refused("train", "--algorithm", "kl-penalty", "--penalty", "theory", "--gamma", "1")
    assert error == "error: gamma must be in (0, 1) for the penalty of the theory, got 1.0"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--final-std", "0.1"], "final_std"),
        (["--clipped-likelihood"], "clipped_likelihood"),
        (["--state-dependent-std"], "state_dependent_std"),
    ],
)
def test_a_setting_of_continuous_actions_is_refused_where_there_are_none(option, message, refused, workplace):
    assert message in refused("train", "--env", "CartPole-v1", *option)
    assert not list(workplace.iterdir())


def test_a_mirror_of_an_environment_that_has_none_is_refused(refused, workplace):
    error = refused("train", "--env", "MountainCar-v0", "--mirror")
    assert error.startswith("error: mirror: no symmetry of MountainCar-v0 is known; Acrobot-v1, Ant-v5, CartPole-v1, ")
    assert not list(workplace.iterdir())


def test_every_number_is_tried():
    experiments = [Experiment().replace(algorithm=algorithm) for algorithm in ALGORITHMS]
    settings = [each.flat() for each in (*experiments, Experiment().replace(radius="adaptive"))]
    numbers = {name for each in settings for name, value in each.items() if type(value) in (int, float, tuple)}
    numbers -= {"wrapper", "info_keys"}
    assert numbers <= set(OUT_OF_RANGE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--total-steps", "many"], "total_steps must be a whole number, got 'many'"),
        (["--total-steps", "1.5"], "total_steps must be a whole number, got '1.5'"),
        (["--max_kl", "small"], "max_kl must be a number, got 'small'"),
        (["--backend", "ray"], "backend must be one of sync, async, envpool, got 'ray'"),
        (["--hidden-sizes", "8", "x"], "hidden_sizes must be a tuple of whole numbers"),
        (["--seed"], "argument --seed: expected one argument; see train --help"),
        (["--preset"], "argument --preset: expected one argument; see train --help"),
        (["--quiet=yes"], "argument --quiet/--no-quiet: ignored explicit argument 'yes'; see train --help"),
        (["surplus"], "unrecognized options: surplus; see train --help"),
        (["--total-stepps", "3"], "unrecognized options: --total-stepps 3; there is --total-steps; see train --help"),
        (["--run", "x"], "unrecognized options: --run x"),
    ],
    ids=" ".join,
)
def test_an_option_that_cannot_be_read_is_refused_by_its_name(arguments, message, refused, workplace):
    assert refused("train", *arguments).startswith(f"error: {message}")
    assert not list(workplace.iterdir())


def test_a_line_on_standard_error_is_all_where_that_is_not_utf_8(workplace):
    command = [sys.executable, "-m", "tf_trpo", "train", "--preset", "none", "--backend=\u2192\x1b[31m3\n4"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "env", ["CartPoole-v1", "CartPole-v99", "no//id", "", "nowhere/CartPole-v1", "nomodule:Env-v0"]
)
@pytest.mark.parametrize("backend", ["sync", "envpool"])
def test_an_unknown_environment_is_refused(env, backend, refused, workplace):
    refused("train", "--env", env, "--backend", backend)
    assert not list(workplace.iterdir())


@pytest.fixture
def registered():
    """Ids of environments with actions that are not supported, and that EnvPool has not, or has otherwise."""

    class Walk(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (2,))

        def __init__(self, action_space):
            self.action_space = action_space

    ids = {"text": "TestWords-v0", "unknown to EnvPool": "TestWalk-v0", "another in EnvPool": "Catch-v0"}
    gym.register(ids["text"], lambda: Walk(gym.spaces.Text(3)))
    gym.register(ids["unknown to EnvPool"], lambda: Walk(gym.spaces.Discrete(2)))
    gym.register(ids["another in EnvPool"], lambda: Walk(gym.spaces.Discrete(3)))
    yield ids
    for name in ids.values():
        del gym.registry[name]


def test_an_environment_with_other_actions_is_refused(registered, refused, workplace):
    error = refused("train", "--env", registered["text"])
    assert "is not supported: turn it into a Box, Discrete, MultiDiscrete, MultiBinary" in error
    assert not list(workplace.iterdir())


def test_an_environment_that_envpool_does_not_have_is_refused_before_a_folder_is_made(registered, refused, workplace):
    pytest.importorskip("envpool")
    error = refused("train", "--env", registered["unknown to EnvPool"], "--backend", "envpool")
    assert "EnvPool has no environment 'TestWalk-v0'" in error
    assert not list(workplace.iterdir())


def test_an_environment_that_is_another_one_in_envpool_is_refused_before_a_folder_is_made(
    registered, refused, workplace
):
    pytest.importorskip("envpool")
    error = refused("train", "--env", registered["another in EnvPool"], "--backend", "envpool")
    assert "the agent observes array of shape (2,), the environment gives" in error
    assert not list(workplace.iterdir())


def test_envpool_that_is_not_installed_is_refused_before_a_folder_is_made(monkeypatch, refused, workplace):
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert 'pip install "tf_trpo[envpool]"' in refused("train", "--backend", "envpool")
    assert not list(workplace.iterdir())


def test_filming_without_pygame_is_refused_before_a_folder_is_made(monkeypatch, refused, workplace, tmp_path_factory):
    # Frames are drawn in another process, which has this one's path.
    modules = tmp_path_factory.mktemp("modules")
    (modules / "pygame.py").write_text("raise ModuleNotFoundError('No module named pygame', name='pygame')")
    monkeypatch.syspath_prepend(modules)
    error = refused("train", "--video-every", "1000")
    assert "CartPole-v1 cannot be filmed" in error
    assert 'pip install "tf_trpo[play]"' in error
    assert not list(workplace.iterdir())


def test_a_run_folder_that_exists_is_refused_and_left_as_it_is(small, refused, workplace):
    folder = workplace / "run"
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    error = refused("train", *small, "--run-dir", folder)
    assert error == f"error: {folder}: the run folder exists; name another (--run-dir)"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"config.json": "mine"}


def test_a_run_folder_that_cannot_be_made_is_refused_and_leaves_no_folder_on_the_way(small, refused, workplace):
    (workplace / "file").write_text("mine")
    for folder in (workplace / "file" / "run", workplace / "new" / "newer" / ("x" * 300)):
        assert "cannot be made" in refused("train", *small, "--run-dir", folder)
    assert {path.name: path.read_text() for path in workplace.iterdir()} == {"file": "mine"}
