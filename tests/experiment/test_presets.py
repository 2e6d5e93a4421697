"""Presets: bundled ones, files, precedence, and what is wrong with a bad one."""

import dataclasses
import json
from importlib import resources
from pathlib import Path

import gymnasium
import pytest
import yaml
from tf_trpo.cli.algorithms import SETTINGS as ALGORITHM_SETTINGS
from tf_trpo.cli.benchmark.suites import read_suite, selected
from tf_trpo.cli.preset_files import bundled_presets
from tf_trpo.cli.presets import NO_PRESET, parse_settings
from tf_trpo.cli.resume import resumed_settings
from tf_trpo.cli.run_folder import RunFolder
from tf_trpo.cli.settings import TrainSettings

import tf_trpo
from tf_trpo.cli import main
from tf_trpo.cli.errors import UsageError


def parsed(*arguments):
    return parse_settings([str(argument) for argument in arguments], prog="train").flat()


def preset_file(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def other_than_default():
    """A value for every setting that differs from its default."""
    changed = {
        bool: lambda value: not value,
        int: lambda value: value + 3,
        float: lambda value: value * 1.25e-7,
        tuple: lambda _: (5, 7, 9),
    }
    choices = {
        "env": "Pendulum-v1",
        "backend": "envpool",
        "run_dir": "a folder/with spaces",
        "activation": "relu",
        "algorithm": "vanilla-policy-gradient",
        "fisher_vector_product": "double-backprop",
        "natural_learning_rate": 0.25,
        "final_std": 0.125,
        "final_max_kl": 0.25,
        "observation_min_std": 0.25,
        "ema_momentum": 0.75,
        "advantage_clip": 2.5,
        "vanilla_optimizer": "sgd",
        "constraint": "max",
        "radius": "adaptive",
        "penalty": "theory",
        "penalty_solver": "first-order",
        "value_target": "reward-to-go",
    }
    return {
        name: choices[name] if name in choices else changed[type(value)](value)
        for name, value in TrainSettings().flat().items()
    }


def test_without_a_preset_the_defaults():
    assert parsed("--preset", "none") == TrainSettings().flat()
    assert parsed("--preset=none", "--env", "Hopper-v5") == TrainSettings().flat() | {"env": "Hopper-v5"}


def test_the_presets_that_come_with_the_package():
    assert bundled_presets() == ["box2d", "classic_control", "mujoco"]
    assert NO_PRESET not in bundled_presets()


def bundled(name):
    """(shared lines, differences of each environment) of a preset that comes with the package."""
    said = yaml.safe_load((resources.files("tf_trpo") / "presets" / f"{name}.yaml").read_text(encoding="utf-8"))
    return said, said.pop("environments")


def used_by(algorithm, settings):
    """Without the settings that only other algorithms use."""
    foreign = {name for names in ALGORITHM_SETTINGS.values() for name in names} - set(ALGORITHM_SETTINGS[algorithm])
    return {name: value for name, value in settings.items() if name not in foreign}


NAMED = [(name, env) for name in bundled_presets() for env in bundled(name)[1]]
"""Every environment that a bundled preset names."""


def test_no_environment_is_named_by_two_bundled_presets_and_all_are_there():
    names = [env for _, env in NAMED]
    assert len(set(names)) == len(names)
    assert set(names) <= gymnasium.registry.keys()


@pytest.mark.parametrize("name", bundled_presets())
def test_a_bundled_preset_is_of_settings_that_say_nothing_of_one_run(name):
    """Were env among them, an environment would choose a preset that chooses another environment."""
    shared, differences = bundled(name)
    for settings in (shared, *differences.values()):
        assert not settings.keys() & {"env", "seed", "run_dir", "quiet", "export", "algorithm"}


@pytest.mark.parametrize("name", bundled_presets())
def test_a_bundled_preset_gives_every_algorithm_with_a_kl_the_same_one(name):
    shared, differences = bundled(name)
    for settings in (shared, *differences.values()):
        assert settings.get("natural_max_kl") == settings.get("target_kl")


@pytest.mark.parametrize(
    ("name", "env", "algorithm"),
    [
        (name, env, algorithm)
        for name, env in NAMED
        for algorithm in ALGORITHM_SETTINGS
        if algorithm == "trpo" or env in ("LunarLander-v3", "Pendulum-v1", "Swimmer-v5")
    ],
)
def test_a_bundled_preset_is_chosen_by_its_environments_and_sets_what_the_algorithm_has(name, env, algorithm):
    shared, differences = bundled(name)
    used = used_by(algorithm, shared | differences[env])
    used = {setting: tuple(value) if isinstance(value, list) else value for setting, value in used.items()}
    chosen = parsed("--env", env, "--algorithm", algorithm)
    assert chosen == TrainSettings().flat() | used | {"env": env, "algorithm": algorithm}
    if differences[env]:
        assert parsed("--env", env, "--algorithm", algorithm, "--preset", name) == chosen


CLASSIC_CONTROL = {
    "CartPole-v1/trpo": {"num_steps": 256},
    "CartPole-v1/vanilla-policy-gradient": {"num_steps": 256},
    "CartPole-v1/kl-penalty": {"num_steps": 256},
    "Pendulum-v1/trpo": {"num_steps": 128, "gamma": 0.95, "value_epochs": 20, "max_kl": 0.03},
    "Pendulum-v1/natural-policy-gradient": {
        "num_steps": 128,
        "gamma": 0.95,
        "value_epochs": 20,
        "natural_max_kl": 0.03,
    },
    "Pendulum-v1/vanilla-policy-gradient": {"num_steps": 128, "gamma": 0.95, "value_epochs": 20},
    "Pendulum-v1/kl-penalty": {"num_steps": 128, "gamma": 0.95, "value_epochs": 20, "target_kl": 0.03},
}


@pytest.mark.parametrize(("run", "differing"), CLASSIC_CONTROL.items())
def test_the_algorithms_are_compared_as_the_published_results_were(run, differing):
    (entry,) = selected(read_suite("algorithms"), (run,), "algorithms")
    both = {"total_steps": 100_000, "num_envs": 8, "eval_every": 0, "checkpoint_every": 0, "function_preserving": False}
    both |= {"vanilla_optimizer": "adam", "vanilla_learning_rate": 0.01}
    expected = TrainSettings().flat() | both | differing | {"env": entry.env, "algorithm": entry.name}
    assert parsed("--env", entry.env, *entry.options) == expected


def test_an_environment_that_no_bundled_preset_names_has_the_defaults():
    assert parsed("--env", "FrozenLake-v1") == TrainSettings().flat() | {"env": "FrozenLake-v1"}


def test_a_preset_that_is_named_is_the_only_one(tmp_path):
    mine = preset_file(tmp_path, "seed: 3")
    assert parsed("--env", "Hopper-v5", "--preset", mine) == TrainSettings().flat() | {"env": "Hopper-v5", "seed": 3}
    shared, _ = bundled("mujoco")
    expected = TrainSettings().flat() | used_by("trpo", shared)
    assert parsed("--env", "CartPole-v1", "--preset", "mujoco") == expected | {"env": "CartPole-v1"}
    with pytest.raises(UsageError, match="--preset none cannot stand beside another one"):
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
def test_the_environment_that_is_trained_says_which_differences_hold(tmp_path, line, options, gamma):
    settings = parsed("--preset", preset_file(tmp_path, DIFFERING + line), *options)
    differ = settings["env"] == "Swimmer-v5"
    assert (settings["gamma"], settings["max_kl"]) == (gamma, 0.5)
    assert (settings["hidden_sizes"], settings["jit_compile"]) == (((3, 3), False) if differ else ((64, 64), True))


def test_of_two_presets_each_has_its_differences_and_the_later_its_environment(tmp_path):
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text("env: A-v0\ngamma: 0.5\nenvironments: {A-v0: {gamma: 0.1}, B-v0: {gamma: 0.2, seed: 7}}")
    other.write_text("env: B-v0\nenvironments: {A-v0: {gamma: 0.3}, B-v0: {seed: 8}}")
    settings = parsed("--preset", one, "--preset", other)
    assert (settings["env"], settings["gamma"], settings["seed"]) == ("B-v0", 0.2, 8)
    settings = parsed("--preset", other, "--preset", one)
    assert (settings["env"], settings["gamma"]) == ("A-v0", 0.1)


def test_a_yaml_file_can_set_everything(tmp_path):
    settings = other_than_default()
    as_yaml = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    assert parsed("--preset", preset_file(tmp_path, yaml.safe_dump(as_yaml))) == settings
    assert all(settings[name] != value for name, value in TrainSettings().flat().items())


@pytest.mark.parametrize("settings", [TrainSettings().flat(), other_than_default()], ids=["defaults", "others"])
def test_the_settings_in_a_run_folder_are_a_preset(tmp_path, settings):
    assert parsed("--preset", preset_file(tmp_path, json.dumps(settings))) == settings


@pytest.mark.parametrize("value", ["1e-3", "1.0e-3", "0.001"])
def test_numbers_may_be_written_as_people_do(tmp_path, value):
    # To YAML, 1e-3 is a string.
    assert parsed("--preset", preset_file(tmp_path, f"max_kl: {value}"))["max_kl"] == 0.001


def test_one_layer_may_be_written_without_a_list_and_none_as_an_empty_one(tmp_path):
    settings = parsed("--preset", preset_file(tmp_path, "hidden_sizes: 32\nvalue_hidden_sizes: []"))
    assert (settings["hidden_sizes"], settings["value_hidden_sizes"]) == ((32,), ())


@pytest.mark.parametrize("order", ["before", "after"])
def test_an_option_beats_the_preset_wherever_it_stands(tmp_path, order):
    preset = ["--preset", preset_file(tmp_path, "max_kl: 0.5\nhidden_sizes: [3, 3]\njit_compile: false\ngamma: 0.5")]
    options = ["--max-kl", "0.25", "--hidden-sizes", "8", "--jit-compile"]
    settings = parsed(*options, *preset) if order == "before" else parsed(*preset, *options)
    assert settings["max_kl"] == 0.25
    assert settings["hidden_sizes"] == (8,)
    assert settings["jit_compile"] is True
    assert settings["gamma"] == 0.5


def test_of_two_presets_the_later_wins(tmp_path):
    mine = preset_file(tmp_path, "num_envs: 77\ngamma: 0.5")
    of_bundled = parsed("--preset", "classic_control")
    both = parsed("--preset", "classic_control", "--preset", mine)
    assert (both["num_envs"], both["gamma"], both["num_steps"]) == (77, 0.5, of_bundled["num_steps"])
    assert parsed("--preset", mine, "--preset=classic_control")["num_envs"] == of_bundled["num_envs"]


BAD = {
    "unknown key": ("max_kl: 0.1\nmax_lk: 0.2\n", "unknown settings: max_lk"),
    "not YAML": ("max_kl: [0.1\n", "is not YAML"),
    "a list": ("- max_kl\n", "must hold lines of the form `name: value`"),
    "a word": ("max_kl\n", "must hold lines of the form `name: value`"),
    "empty": ("", "must hold lines of the form `name: value`"),
    "environments are a list": ("environments: [Ant-v5]", "must hold lines of the form `id: {name: value}` under"),
    "environments are nothing": ("environments:", "must hold lines of the form `id: {name: value}` under"),
}
ENVIRONMENTS = {
    "unknown key": ("{max_lk: 0.2}", "has unknown settings: max_lk"),
    "environments": ("{environments: {}}", "has unknown settings: environments"),
    "env": ("{gamma: 0.5, env: Ant-v5}", "cannot set env"),
    "nothing": ("", "must hold {name: value} of the settings that differ, {} for none"),
    "a list": ("[gamma]", "must hold {name: value} of the settings that differ, {} for none"),
    "an option": ('{hidden_sizes: [8, "--quiet"]}', "has a value of hidden_sizes that it cannot have: '--quiet'"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_bad_preset_ends_with_one_line_that_names_it(tmp_path, monkeypatch, capsys, text, message):
    monkeypatch.chdir(tmp_path)
    path = preset_file(tmp_path, text)
    with pytest.raises(SystemExit) as exit_info:
        main(["train", "--preset", str(path)])
    error = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert error.startswith(f"error: preset {path} ")
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("text", "message"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_bad_differences_are_refused_with_preset_and_environment_whatever_is_trained(tmp_path, refused, text, message):
    path = preset_file(tmp_path, f"environments: {{Swimmer-v5: {text}}}")
    error = refused("train", "--preset", path, "--env", "Hopper-v5")
    assert error.startswith(f"error: preset {path}, environment Swimmer-v5 {message}")


@pytest.mark.parametrize("key", ["3", "null", "''", "true"])
def test_an_environment_that_is_no_text_is_refused(tmp_path, refused, key):
    error = refused("train", "--preset", preset_file(tmp_path, f"environments: {{{key}: {{}}}}"))
    assert error.endswith(": it must be a Gymnasium id")


@pytest.mark.parametrize("preset", ["nowhere.yaml", "mujocco", "None", "."])
def test_a_preset_that_is_not_there_ends_with_one_line_and_the_bundled_names(tmp_path, monkeypatch, capsys, preset):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(["train", "--preset", preset])
    error = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert error.startswith(f"error: preset {preset}: ")
    assert "one of box2d, classic_control, mujoco" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_preset_of_bytes_that_are_no_text_is_refused(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00max_kl")
    with pytest.raises(UsageError, match="neither a file that can be read"):
        parsed("--preset", path)


@pytest.mark.parametrize("arguments", [["--preset"], ["--preset="]])
def test_preset_needs_a_value(arguments):
    with pytest.raises(UsageError, match=r"--preset needs a name \(box2d, classic_control, mujoco, none\)"):
        parsed(*arguments)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("total_steps: many", "--total-steps"),
        ("max_kl:", "--max-kl"),
        ("backend: ray", "--backend"),
        ("jit_compile: maybe", "maybe"),
        ("hidden_sizes: [8, [9]]", "hidden_sizes"),
        ("gamma: true", "--gamma"),
    ],
)
def test_a_bad_value_in_a_preset_ends_with_one_line_that_says_which_and_where(
    tmp_path, monkeypatch, refused, line, named
):
    monkeypatch.chdir(tmp_path)
    path = preset_file(tmp_path, line)
    error = refused("train", "--preset", path)
    assert named in error
    assert f"preset {path}" in error
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("line", "named"), [("gamma: many", "--gamma"), ("backend: ray", "--backend"), ("max_kl: null", "--max-kl")]
)
def test_a_bad_value_in_differences_ends_with_one_line_that_says_which_and_where(tmp_path, refused, line, named):
    path = preset_file(tmp_path, f"seed: 3\nenvironments: {{Ant-v5: {{{line}}}}}")
    error = refused("train", "--preset", path, "--env", "Ant-v5")
    assert error.startswith(f"error: preset {path}, environment Ant-v5: ")
    assert named in error


def test_a_relative_path_is_taken_from_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset_file(tmp_path, "gamma: 0.5")
    assert parsed("--preset", "mine.yaml")["gamma"] == 0.5
    assert parsed("--preset", Path("mine.yaml").absolute())["gamma"] == 0.5


@pytest.mark.parametrize("preset", [["--preset", "classic_control"], []], ids=["named", "chosen"])
def test_what_somebody_says_himself_stays_beside_a_bundled_preset_even_where_it_has_no_effect(tmp_path, preset):
    """So that it can be refused; even the preset's own figure."""
    bundled = parsed(*preset, "--env", "Pendulum-v1")["max_kl"]
    assert bundled != TrainSettings().flat()["max_kl"]
    for max_kl in (0.5, bundled):
        said = parsed(*preset, "--env=Pendulum-v1", "--algorithm", "vanilla-policy-gradient", "--max-kl", max_kl)
        assert said["max_kl"] == max_kl
    mine = preset_file(tmp_path, "environments: {Pendulum-v1: {max_kl: 0.5}}\nalgorithm: vanilla-policy-gradient")
    assert parsed("--preset=classic_control", "--preset", mine, "--env", "Pendulum-v1")["max_kl"] == 0.5


@pytest.fixture
def started(tmp_path, monkeypatch, capsys):
    """started(*options): the settings of a run that was interrupted at its start, and standard error."""
    monkeypatch.chdir(tmp_path)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    def start(*options):
        monkeypatch.setattr(tf_trpo.TRPO, "fit", interrupted)
        with pytest.raises(SystemExit):
            main(["train", "--hidden-sizes", "4", "--value-hidden-sizes", "4", "--run-dir", "run", *options])
        return RunFolder(Path("run")).settings(), capsys.readouterr().err

    return start


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--env", "Pendulum-v1"], "preset classic_control, for Pendulum-v1\n"),
        (["--env", "FrozenLake-v1"], "preset none: no bundled one names FrozenLake-v1\n"),
        (["--preset", "none"], "preset none\n"),
        (["--preset", "box2d", "--preset", "mine.yaml"], "preset box2d, mine.yaml\n"),
        (["--quiet"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_training_says_its_preset_in_a_line_and_its_run_holds_every_setting(tmp_path, started, options, line):
    preset_file(tmp_path, "gamma: 0.5")
    settings, said = started(*options)
    assert said == line
    expected = parsed(*options, "--hidden-sizes", 4, "--value-hidden-sizes", 4, "--run-dir", "run")
    assert settings == json.loads(json.dumps(expected))


def test_a_resumed_run_chooses_no_preset(started):
    before, _ = started("--env", "Pendulum-v1", "--preset", "none")
    assert parsed("--env", "Pendulum-v1")["gamma"] != before["gamma"]
    again = resumed_settings(Path("run"), ["--total-steps", "200000"], "train").flat()
    assert json.loads(json.dumps(again)) == before | {"total_steps": 200_000}


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainSettings().run.seed = 3
