"""Presets: bundled ones, files, precedence, and what is wrong with a bad one."""

import dataclasses
import json
from importlib import resources
from pathlib import Path

import pytest
import yaml

from tf_trpo.cli import main
from tf_trpo.cli.algorithms import SETTINGS as ALGORITHM_SETTINGS
from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.presets import bundled_presets, parse_settings
from tf_trpo.cli.settings import TrainSettings


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


def test_without_arguments_the_defaults():
    assert parsed() == TrainSettings().flat()


def test_the_presets_that_come_with_the_package():
    assert bundled_presets() == ["cartpole", "mujoco", "pendulum"]


@pytest.mark.parametrize("name", bundled_presets())
@pytest.mark.parametrize("algorithm", ALGORITHM_SETTINGS)
def test_a_bundled_preset_sets_what_it_says_and_the_algorithm_has_and_nothing_else(name, algorithm):
    said = yaml.safe_load((resources.files("tf_trpo") / "presets" / f"{name}.yaml").read_text(encoding="utf-8"))
    foreign = {name for names in ALGORITHM_SETTINGS.values() for name in names} - set(ALGORITHM_SETTINGS[algorithm])
    used = {name: value for name, value in said.items() if name not in foreign}
    assert parsed("--preset", name, "--algorithm", algorithm) == TrainSettings().flat() | used | {
        "algorithm": algorithm
    }


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
    both = parsed("--preset", "cartpole", "--preset", mine)
    assert (both["num_envs"], both["gamma"], both["num_steps"]) == (
        77,
        0.5,
        parsed("--preset", "cartpole")["num_steps"],
    )
    assert parsed("--preset", mine, "--preset=cartpole")["num_envs"] == parsed("--preset", "cartpole")["num_envs"]


BAD = {
    "unknown key": ("max_kl: 0.1\nmax_lk: 0.2\n", "unknown settings: max_lk"),
    "not YAML": ("max_kl: [0.1\n", "is not YAML"),
    "a list": ("- max_kl\n", "must hold lines of the form `name: value`"),
    "a word": ("max_kl\n", "must hold lines of the form `name: value`"),
    "empty": ("", "must hold lines of the form `name: value`"),
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


@pytest.mark.parametrize("preset", ["nowhere.yaml", "cartpoole", "."])
def test_a_preset_that_is_not_there_ends_with_one_line_and_the_bundled_names(tmp_path, monkeypatch, capsys, preset):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(["train", "--preset", preset])
    error = capsys.readouterr().err
    assert exit_info.value.code == 2
    assert error.startswith(f"error: preset {preset}: ")
    assert "one of cartpole, mujoco" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_preset_of_bytes_that_are_no_text_is_refused(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00max_kl")
    with pytest.raises(UsageError, match="neither a file that can be read"):
        parsed("--preset", path)


@pytest.mark.parametrize("arguments", [["--preset"], ["--preset="]])
def test_preset_needs_a_value(arguments):
    with pytest.raises(UsageError, match="--preset needs a name"):
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


def test_a_relative_path_is_taken_from_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset_file(tmp_path, "gamma: 0.5")
    assert parsed("--preset", "mine.yaml")["gamma"] == 0.5
    assert parsed("--preset", Path("mine.yaml").absolute())["gamma"] == 0.5


def test_what_somebody_says_himself_stays_beside_a_bundled_preset_even_where_it_has_no_effect(tmp_path):
    """So that it can be refused."""
    assert parsed("--preset", "mujoco")["max_kl"] != TrainSettings().flat()["max_kl"]
    said = parsed("--preset", "mujoco", "--algorithm", "vanilla-policy-gradient", "--max-kl", 0.5)
    assert said["max_kl"] == 0.5
    mine = preset_file(tmp_path, "max_kl: 0.5\nalgorithm: vanilla-policy-gradient")
    assert parsed("--preset", "mujoco", "--preset", mine)["max_kl"] == 0.5


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainSettings().run.seed = 3
