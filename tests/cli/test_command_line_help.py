"""--help of every command: complete, without TensorFlow and other slow imports."""

import dataclasses
import itertools
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import COMMANDS, main
from tf_trpo.cli.parsing import groups_of
from tf_trpo.cli.tune import REFUSED, TuneOptions
from tf_trpo.experiment.conversion import leaves
from tf_trpo.experiment.presets import bundled_presets
from tf_trpo.optimizers import ALGORITHMS

SCRIPTS = Path(__file__).parents[2] / "scripts"
SLOW_TO_IMPORT = {
    "optuna",
    "tensorflow",
    "keras",
    "gymnasium",
    "tensorflow_probability",
    "scipy",
    "matplotlib",
    "uvicorn",
}
ALL_HELP = f"""
import contextlib, sys
from tf_trpo.cli import main
for command in {list(COMMANDS)}:
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    print(command, "imported", {SLOW_TO_IMPORT} & set(sys.modules))
"""


def run_python(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_help_does_not_import_tensorflow():
    result = run_python("-c", ALL_HELP)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("usage: ") == len(COMMANDS)
    for command in COMMANDS:
        assert f"{command} imported set()\n" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_script_runs_its_command(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPTS / f"{command.replace('-', '_')}.py"), "--help"])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(sys.argv[0], run_name="__main__")
    assert exit_info.value.code == 0
    assert f"usage: tf_trpo {command} " in capsys.readouterr().out


def help_of(capsys, *arguments, option="--help"):
    with pytest.raises(SystemExit) as exit_info:
        main([*arguments, option])
    assert exit_info.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_all_help_of_train_names_every_setting_of_the_algorithm_and_the_presets(algorithm, capsys):
    text = help_of(capsys, "train", "--algorithm", algorithm, option="--help-all")
    for name in (*Experiment().replace(algorithm=algorithm).flat(), "preset", "resume", "run_dir", "allow_import"):
        assert f"--{name.replace('_', '-')}" in text
    for name in [*bundled_presets(), "--preset none"]:
        assert name in " ".join(text.split())
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert headings[:4] == ["options", "settings", "environment", "run"]
    assert headings[-1] == "options of the command"


@pytest.mark.parametrize(
    ("algorithm", "step_size"),
    list(
        zip(
            ALGORITHMS,
            ["max-kl", "natural-max-kl", "vanilla-learning-rate", "target-kl", "clip-range", *["max-kl"] * 2],
            strict=True,
        )
    ),
)
def test_help_of_train_shows_ten_settings_and_how_to_see_the_others(algorithm, step_size, capsys):
    text = help_of(capsys, "train", "--algorithm", algorithm)
    options = re.findall(r"--([a-z-]+)(?= (?:STR|INT|FLOAT|NAME|\{|\[|PATH)|, --no-)", text)
    assert [option for option in options if option not in ("run-dir", "preset", "resume", "allow-import")] == [
        *["env", "total-steps", "seed", "algorithm", step_size],
        *["num-envs", "num-steps", "gamma", "hidden-sizes", "eval-every"],
    ]
    assert options[0] == "env"
    assert {"run-dir", "preset", "resume"} < set(options)
    words = " ".join(text.split())
    [count] = re.findall(r"--help-all shows all (\d+)\.", words)
    whole = help_of(capsys, "train", "--algorithm", algorithm, "--help-all")
    shown = {*re.findall(r"^  --([a-z-]+)", whole, re.MULTILINE)} - {"run-dir", "preset", "resume", "allow-import"}
    assert int(count) == len({name.replace("-", "_") for name in shown} & leaves(Experiment).keys())
    assert "Discount, in [0, 1]. (default: 0.99)" in words
    assert f"(default: {algorithm})" in words


def test_every_setting_has_a_description():
    shown = {}
    for algorithm in ALGORITHMS:
        for radius in ("fixed", "adaptive") if algorithm == "trpo" else (None,):
            chosen = {"algorithm": algorithm} | ({} if radius is None else {"radius": radius})
            for group in groups_of(Experiment().replace(**chosen), "settings").values():
                shown |= group
    assert shown.keys() == leaves(Experiment).keys()
    assert all(option.words.endswith((".", ".)")) for option in shown.values())
    assert shown["gamma"].words == "Discount, in [0, 1]."


def test_all_help_of_train_has_the_defaults_of_the_environments_preset(capsys):
    arguments = ["train", "--env", "Pendulum-v1", "--radius", "adaptive", "--max-kl", "0.1"]
    text = " ".join(help_of(capsys, *arguments, option="--help-all").split())
    for default in (
        "--env STR Gymnasium id, or module:NAME of a class or function that makes the environment. "
        "(default: Pendulum-v1)",
        "(default: adaptive)",
        "(default: 0.95)",
    ):
        assert default in text
    assert "--min-radius" in text


OPTIONS = {
    "check-env": "env-kwargs wrapper action-masks info-keys steps seed allow-import json",
    "tune": "trials steps space seeds evaluations prune check-seeds jobs output preset allow-import env algorithm",
    "evaluate": "episodes stochastic seed allow-import json",
    "export": "output format warmup card film allow-import",
    "serve": "host port trust max-batch max-request-bytes max-waiting timeout batching name max-connections",
    "play": "env episodes stochastic seed video json allow-import trust",
    "plot": "metric x statistic group-by output report",
}


@pytest.mark.parametrize(("command", "options"), OPTIONS.items())
def test_help_of_the_other_commands_names_their_options(command, options, capsys):
    text = help_of(capsys, command)
    assert all(f"--{option}" in text for option in options.split())
    # A default that is empty, or that the description gives in words, is left out.
    assert not re.search(r"\(default: (None)?\)", " ".join(text.split()))


def test_help_names_an_argument_as_its_error_does(capsys, refused):
    assert help_of(capsys, "evaluate").startswith("usage: tf_trpo evaluate [OPTIONS] run_dir\n")
    assert "run_dir" in refused("evaluate")


def test_help_of_tune_has_the_defaults_of_the_environments_preset(capsys):
    text = " ".join(help_of(capsys, "tune", "--env", "Pendulum-v1").split())
    assert "Number of environments that are stepped together. (default: 8)" in text
    text = " ".join(help_of(capsys, "tune", "--preset", "none", "--seed", "5").split())
    assert "Number of environments that are stepped together. (default: 1)" in text
    assert "Seed of the search: of its sampler and, derived from it, of its trainings. (default: 5)" in text


@pytest.mark.parametrize("algorithm", ["trpo", "ppo"])
def test_all_help_of_tune_names_every_setting_of_the_algorithm_that_a_search_takes(algorithm, capsys):
    text = help_of(capsys, "tune", "--algorithm", algorithm, option="--help-all")
    shown = {option.replace("-", "_") for option in re.findall(r"^  --([a-z-]+)", text, re.MULTILINE)}
    searched = {field.name for field in dataclasses.fields(TuneOptions)}
    settings = Experiment().replace(algorithm=algorithm).flat().keys() - REFUSED.keys()
    assert shown == {*searched, *settings, "help_all", "no_jit_compile"}
    assert "Seed of the search" in text
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert headings[:5] == ["options", "options of the search", "settings", "environment", "run"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_all_help_where_it_shows_more(command, capsys):
    short, whole = (help_of(capsys, command, option=option) for option in ("--help", "--help-all"))
    if command in ("train", "tune"):
        assert len(whole.splitlines()) > 2 * len(short.splitlines())
        assert all(re.search(r"^  -h, --help .*\n  --help-all  ", text, re.MULTILINE) for text in (short, whole))
    else:
        assert short == whole
        assert "--help-all" not in whole


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize("option", ["--help", "--help-all"])
def test_help_says_whose_defaults_it_shows(command, option, capsys):
    words = f"; --env ENV {option} shows those of ENV."
    text = " ".join(help_of(capsys, command, option=option).split())
    assert f"The defaults shown are those of CartPole-v1{words}" in text
    text = " ".join(help_of(capsys, command, "--env", "Pendulum-v1", option=option).split())
    assert f"The defaults shown are those of Pendulum-v1{words}" in text


@pytest.mark.parametrize("columns", [60, 100])
def test_sentences_of_the_help_are_broken_only_at_the_right_margin(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = help_of(capsys, "tune").splitlines()
    assert max(map(len, lines)) <= columns
    # A line is followed by a word that would not have fitted.
    first = lines.index(next(line for line in lines if line.startswith("  --space")))
    block = [lines[first], *itertools.takewhile(lambda line: line.startswith(" " * 24), lines[first + 1 :])]
    assert len(block) > 3
    for one, other in itertools.pairwise(block):
        assert len(one) + 1 + len(other.split()[0]) > columns - 2


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_help_lists_the_commands(arguments, status, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == status
    text = capsys.readouterr().out
    assert all(f"  {command} " in text for command in COMMANDS)
    for command in re.findall(r"python -m tf_trpo ([\w-]+)", text):
        assert command in COMMANDS


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--version"])
    assert exit_info.value.code == 0
    assert capsys.readouterr().out == f"tf_trpo {tf_trpo.__version__}\n"


def test_an_unknown_command_ends_with_status_2_and_lists_the_commands(refused):
    assert refused("trian") == f"error: no command 'trian'; the nearest is train; there are {', '.join(COMMANDS)}"
