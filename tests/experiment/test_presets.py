"""Presets: bundled ones, files, precedence, and errors."""

import itertools
import json
from importlib import resources
from pathlib import Path

import gymnasium
import pytest
import yaml

from tf_trpo import Experiment
from tf_trpo.cli.train import read_command
from tf_trpo.experiment.presets import bundled_presets
from tf_trpo.optimizers import ALGORITHMS

DEFAULTS = Experiment().flat()


def parsed(*arguments):
    return read_command([str(argument) for argument in arguments]).experiment.flat()


def preset_file(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def other_than_default():
    """A value for every setting that differs from its default; the algorithm is TRPO with a radius that adapts."""
    changed = {
        bool: lambda value: not value,
        int: lambda value: value + 3,
        float: lambda value: value * 0.875,
        tuple: lambda _: (5, 7, 9),
    }
    choices = {"env": "Pendulum-v1", "env_kwargs": {"g": 1.5}, "wrapper": ("a:B", "c.d:E"), "action_masks": "info"}
    choices |= {"info_keys": ("is_success", "episode/r"), "schedule_steps": 7, "jit_compile": False}
    choices |= {
        "activation": "relu",
        "distribution": "beta",
        "initial_std": 0.75,
        "final_std": 0.125,
        "state_dependent_std": False,
    }
    choices |= {"normalize_observations": True, "observation_min_std": 0.25, "ema_momentum": 0.75}
    choices |= {"algorithm": "trpo", "radius": "adaptive", "constraint": "max", "max_kl": 0.0125, "final_max_kl": None}
    choices |= {"costs": ("speed", "a:b"), "anchor": None, "anchor_kl": None}
    choices |= {"cg_iterations": 18, "preconditioner_rank": 3}
    choices |= {"curvature_fraction": 0.5, "chunk_size": 100, "fisher_vector_product": "double-backprop"}
    choices |= {"memory": None, "memory_units": None, "memory_span": None, "segment_length": None, "burn_in": 0}
    # There is a mirror, which is one of single observations.
    choices |= {"frame_stack": 1}
    choices |= {"num_envs": 4, "shards": 2, "workers": 2, "ray_address": "auto", "backend": "sync"}
    choices |= {"update_parts": 6, "eval_envs": 2}
    choices |= {"advantage_clip": 2.5, "value_target": "reward-to-go", "value_learning_rate": 0.002}
    choices |= {"vine_states": 0, "vine_actions": None, "vine_steps": None}
    choices |= {
        "entropy_coefficient": 0.125,
        "demonstration_weight": 0.25,
        "demonstrations": "cartpole/mine-v0",
        "clone_epochs": 7,
    }
    settings = Experiment().replace(radius="adaptive").flat()
    return {name: choices[name] if name in choices else changed[type(value)](value) for name, value in settings.items()}


def test_the_presets_that_come_with_the_package():
    assert bundled_presets() == ["box2d", "classic_control", "fast", "mujoco"]
    assert Experiment.from_preset("mujoco", env="Ant-v5") == Experiment.from_preset("Ant-v5")
    with pytest.raises(
        ValueError, match="no bundled preset names Ant-v9; there are box2d, classic_control, fast, mujoco"
    ):
        Experiment.from_preset("Ant-v9")
    with pytest.raises(ValueError, match="preset mujoco is for several environments: name one by env="):
        Experiment.from_preset("mujoco")


def bundled(name):
    """(shared settings, differences of each environment) of a bundled preset."""
    path = resources.files("tf_trpo.experiment") / "presets" / f"{name}.yaml"
    said = yaml.safe_load(path.read_text(encoding="utf-8"))
    return said, said.pop("environments", {})


def used_by(algorithm, settings):
    """Settings without those that only other algorithms have."""
    chosen = defaults_of(algorithm)
    return {name: value for name, value in settings.items() if name in chosen}


def defaults_of(algorithm):
    return Experiment().replace(algorithm=algorithm).flat()


def test_a_preset_of_an_environment_is_for_no_other():
    assert Experiment.from_preset("Ant-v5", env="Ant-v5") == Experiment.from_preset("Ant-v5")
    with pytest.raises(ValueError, match=r"from_preset\('Ant-v5'\) is of this environment: env cannot be 'Hopper-v5'"):
        Experiment.from_preset("Ant-v5", env="Hopper-v5")


def test_no_environment_is_in_two_bundled_presets_and_all_exist():
    names = [env for name in bundled_presets() for env in bundled(name)[1]]
    assert len(set(names)) == len(names)
    assert set(names) <= gymnasium.registry.keys()


@pytest.mark.parametrize("name", bundled_presets())
def test_a_bundled_preset_has_no_settings_of_a_single_run_and_one_kl_for_all(name):
    shared, differences = bundled(name)
    for settings in (shared, *differences.values()):
        assert not settings.keys() & {"env", "seed", "quiet", "export", "algorithm"}
        assert settings.get("natural_max_kl") == settings.get("target_kl")


@pytest.mark.parametrize("name", ["box2d", "classic_control", "mujoco"])
def test_a_bundled_preset_is_chosen_by_environment_and_sets_only_settings_of_the_algorithm(name):
    shared, differences = bundled(name)
    assert differences
    # Each preset has one of these settings, which other algorithms do not have.
    every = differences.keys() & {"LunarLanderContinuous-v3", "Pendulum-v1", "Swimmer-v5"}
    for env, algorithm in [*((env, "trpo") for env in differences), *itertools.product(every, ALGORITHMS)]:
        used = used_by(algorithm, shared | differences[env])
        used = {setting: tuple(value) if isinstance(value, list) else value for setting, value in used.items()}
        chosen = Experiment.from_preset(env, algorithm=algorithm).flat()
        assert chosen == defaults_of(algorithm) | used | {"env": env}
        assert parsed("--env", env, "--algorithm", algorithm) == chosen
        assert parsed("--env", env, "--algorithm", algorithm, "--preset", name) == chosen


@pytest.mark.parametrize("env", bundled("mujoco")[1])
def test_the_preset_fast_changes_the_backend_restarts_and_the_mirror_only(env):
    alone, fast = (parsed("--env", env, *words) for words in ([], ["--preset", "mujoco", "--preset", "fast"]))
    assert fast == alone | {"backend": "envpool", "restart_every": 0, "mirror": False}


def test_a_named_preset_is_the_only_one_and_without_a_preset_defaults_apply(tmp_path):
    assert parsed("--preset", "none") == DEFAULTS
    assert parsed("--preset=none", "--env", "Hopper-v5") == DEFAULTS | {"env": "Hopper-v5"}
    assert parsed("--env", "FrozenLake-v1") == DEFAULTS | {"env": "FrozenLake-v1"}
    mine = preset_file(tmp_path, "seed: 3")
    assert parsed("--env", "Hopper-v5", "--preset", mine) == DEFAULTS | {"env": "Hopper-v5", "seed": 3}
    expected = DEFAULTS | used_by("trpo", bundled("mujoco")[0])
    assert parsed("--env", "CartPole-v1", "--preset", "mujoco") == expected | {"env": "CartPole-v1"}
    with pytest.raises(ValueError, match="--preset none cannot be combined with another preset"):
        parsed("--preset", mine, "--preset", "none")


DIFFERING = """
gamma: 0.5
max_kl: 0.5
environments:
  Swimmer-v5: {gamma: 0.25, hidden_sizes: [3, 3], jit_compile: false}
  Hopper-v5: {}
"""


@pytest.mark.parametrize(
    ("line", "options", "gamma"),
    [
        ("", ["--env", "Swimmer-v5"], 0.25),
        ("", ["--env=Swimmer-v5", "--gamma=0.75"], 0.75),
        ("", ["--env", "Hopper-v5"], 0.5),
        ("", [], 0.5),
        ("  CartPole-v1: {gamma: 0.125}", [], 0.125),
        ("env: Swimmer-v5", [], 0.25),
        ("env: Swimmer-v5", ["--env", "Hopper-v5"], 0.5),
        ("env: Hopper-v5", ["--env", "Hopper-v5", "--env", "Swimmer-v5"], 0.25),
    ],
)
def test_the_differences_of_the_chosen_environment_apply(tmp_path, line, options, gamma):
    settings = parsed("--preset", preset_file(tmp_path, DIFFERING + line), *options)
    differ = settings["env"] == "Swimmer-v5"
    assert (settings["gamma"], settings["max_kl"]) == (gamma, 0.5)
    assert (settings["hidden_sizes"], settings["jit_compile"]) == (((3, 3), False) if differ else ((64, 64), "auto"))


def test_two_presets_apply_their_differences_and_the_later_one_sets_the_environment(tmp_path):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("env: A-v0\ngamma: 0.5\nenvironments: {A-v0: {gamma: 0.1}, B-v0: {gamma: 0.2, seed: 7}}")
    other.write_text("env: B-v0\nenvironments: {A-v0: {gamma: 0.3}, B-v0: {seed: 8}}")
    settings = parsed("--preset", one, "--preset", other)
    assert (settings["env"], settings["gamma"], settings["seed"]) == ("B-v0", 0.2, 8)
    settings = parsed("--preset", other, "--preset", one)
    assert (settings["env"], settings["gamma"]) == ("A-v0", 0.1)
    # Settings of a bundled preset for other algorithms than the chosen one are left out.
    one.write_text("algorithm: trpo")
    other.write_text("algorithm: kl-penalty")
    settings = parsed("--env", "Hopper-v5", "--preset", "mujoco", "--preset", one, "--preset", other)
    assert (settings["algorithm"], "max_kl" in settings) == ("kl-penalty", False)


def test_a_yaml_file_can_set_everything(tmp_path):
    default, without_memory = Experiment().replace(radius="adaptive").flat(), other_than_default()
    excluded = ("mirror", "preconditioner_rank", "demonstrations", "clone_epochs", "demonstration_weight")
    with_memory = without_memory | {name: default[name] for name in excluded}
    with_memory |= {
        "memory": "lstm",
        "memory_units": 7,
        "memory_span": 9.5,
        "num_steps": 96,
        "segment_length": 32,
        "burn_in": 3,
    }
    with_memory |= {"frame_stack": 4}
    same = set(default)
    for settings in (without_memory, with_memory):
        as_yaml = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        path = preset_file(tmp_path, yaml.safe_dump(as_yaml))
        assert parsed("--preset", path) == Experiment.from_file(path).flat() == settings
        same &= {name for name, value in default.items() if settings[name] == value}
    # A std that goes by schedule does not depend on the observation, a radius that adapts follows no schedule, without
    # normalisation there is no least std, with workers there are no branches, and with a radius that adapts no anchor.
    others = {
        "vine_states",
        "vine_actions",
        "vine_steps",
        "anchor",
        "anchor_kl",
        "backend",
        "state_dependent_std",
        "final_max_kl",
        "normalize_observations",
    }
    assert same == {"algorithm", "radius", *others}


@pytest.mark.parametrize("settings", [DEFAULTS, other_than_default()], ids=["defaults", "others"])
def test_the_settings_in_a_run_folder_are_a_preset(tmp_path, settings):
    assert parsed("--preset", preset_file(tmp_path, json.dumps(settings))) == settings


def test_an_option_overrides_the_preset_in_any_order(tmp_path):
    preset = ["--preset", preset_file(tmp_path, "max_kl: 0.5\nhidden_sizes: [3, 3]\njit_compile: false\ngamma: 0.5")]
    options = ["--max-kl", "0.25", "--hidden-sizes", "8", "--jit-compile"]
    expected = {"max_kl": 0.25, "hidden_sizes": (8,), "jit_compile": True, "gamma": 0.5}
    for arguments in ([*options, *preset], [*preset, *options]):
        assert parsed(*arguments) | expected == parsed(*arguments)


LINES = "must hold lines of the form `name: value`"
DIFFERENCES = "must hold lines of the form `id: {name: value}` under environments"
OF_ONE = "must hold {name: value} of the settings that differ, {} for none"
BAD = {
    "max_kl: 0.1\nmax_lk: 0.2": " has unknown settings: max_lk; there is max_kl, and train --help-all shows all",
    "max_kl: [0.1": " is not YAML",
    "- max_kl": f" {LINES}",
    "max_kl": f" {LINES}",
    "": f" {LINES}",
    "environments: [Ant-v5]": f" {DIFFERENCES}",
    "environments:": f" {DIFFERENCES}",
    "environments: {Swimmer-v5: {max_lk: 0.2}}": ", environment Swimmer-v5 has unknown settings: max_lk",
    "environments: {Swimmer-v5: {environments: {}}}": ", environment Swimmer-v5 has unknown settings: environments",
    "environments: {Swimmer-v5: {gamma: 0.5, env: Ant-v5}}": ", environment Swimmer-v5 cannot set env",
    "environments: {Swimmer-v5: }": f", environment Swimmer-v5 {OF_ONE}",
    "environments: {Swimmer-v5: [gamma]}": f", environment Swimmer-v5 {OF_ONE}",
    "environments: {3: {}}": ", environment 3: it must be a Gymnasium id",
    "environments: {'': {}}": ", environment : it must be a Gymnasium id",
}


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_a_bad_preset_ends_with_one_line_that_names_it_for_any_environment(tmp_path, refused, text, message):
    path = preset_file(tmp_path, text)
    assert refused("train", "--preset", path, "--env", "Hopper-v5").startswith(f"error: preset {path}{message}")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("preset", ["nowhere.yaml", "mujocco", "None", ".", "binary"])
def test_a_missing_preset_ends_with_one_line_and_the_bundled_names(tmp_path, monkeypatch, refused, preset):
    monkeypatch.chdir(tmp_path)
    Path("binary").write_bytes(b"\xff\xfe\x00max_kl")
    error = refused("train", "--preset", preset)
    assert error.startswith(f"error: preset {preset}: ")
    assert "one of box2d, classic_control, fast, mujoco" in error
    assert [path.name for path in tmp_path.iterdir()] == ["binary"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("total_steps: many", "total_steps must be a whole number, got 'many'"),
        ("cg_damping:", "cg_damping must be a number, got 'None'"),
        ("max_kl: -1", "max_kl must be positive and finite, or None, got -1.0"),
        ("backend: ray", "backend must be one of sync, async, envpool, vector, got 'ray'"),
        ("jit_compile: maybe", "jit_compile must be true, false or auto, got 'maybe'"),
        ("hidden_sizes: [8, [9]]", "hidden_sizes must be a tuple of whole numbers, got '[8, [9]]'"),
        ("gamma: true", "gamma must be a number, got 'True'"),
        ("target_kl: 0.1", "target_kl is a setting of kl-penalty, and does nothing in trpo"),
        ("state_dependent_std: true\n  final_std: 0.5", "final_std"),
        ("algorithm: sac", "algorithm must be one of"),
    ],
)
def test_a_bad_value_in_a_preset_ends_with_one_line_that_says_which_and_where(tmp_path, refused, line, message):
    path = preset_file(tmp_path, line.replace("\n  ", "\n"))
    assert refused("train", "--preset", path).startswith(f"error: preset {path}: {message}")
    path = preset_file(tmp_path, f"seed: 3\nenvironments: {{Ant-v5: {{{line.replace(chr(10), ',')}}}}}")
    error = refused("train", "--preset", path, "--env", "Ant-v5", "--max-backtracks", 3)
    assert error.startswith(f"error: preset {path}, environment Ant-v5: {message}")
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_preset_or_the_option_that_caused_it(tmp_path, refused):
    path = preset_file(tmp_path, "max_kl: 0.5")
    assert refused("train", "--preset", path, "--final-max-kl", -1) == (
        "error: final_max_kl must be positive and finite, or None, got -1.0"
    )
    path = preset_file(tmp_path, "num_envs: 0")
    error = refused("train", "--preset", path, "--num-steps", 64)
    assert error == f"error: preset {path}: num_envs must be in [1, 10000], got 0"


@pytest.mark.parametrize("preset", [["--preset", "classic_control"], []], ids=["named", "chosen"])
def test_an_option_of_another_algorithm_is_refused_though_a_bundled_presets_is_left_out(tmp_path, preset, refused):
    options = [*preset, "--env=Pendulum-v1", "--algorithm", "vanilla-policy-gradient"]
    assert "max_kl" not in parsed(*options)
    for max_kl in (0.5, Experiment.from_preset("Pendulum-v1").algorithm.max_kl):
        assert "max_kl is a setting of trpo" in refused("train", *options, "--max-kl", max_kl)
    mine = preset_file(tmp_path, "environments: {Pendulum-v1: {max_kl: 0.5}}")
    error = refused("train", "--preset=classic_control", "--preset", mine, *options[-3:])
    assert error.startswith(f"error: preset {mine}, environment Pendulum-v1: max_kl is a setting of trpo")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--env", "Pendulum-v1"], "preset classic_control, for Pendulum-v1"),
        (["--env", "FrozenLake-v1"], "preset none: no bundled one names FrozenLake-v1"),
        (["--preset", "none"], "preset none"),
        (["--preset", "box2d", "--preset", "mine.yaml"], "preset box2d, mine.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_line_says_which_presets_the_settings_come_from(tmp_path, monkeypatch, options, line):
    monkeypatch.chdir(tmp_path)
    preset_file(tmp_path, "gamma: 0.5")
    assert read_command(options).source == line
