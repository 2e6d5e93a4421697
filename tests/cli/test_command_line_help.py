"""--help of every command: at once, complete, without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest
from tf_trpo.cli.preset_files import bundled_presets
from tf_trpo.cli.settings import TrainSettings

from tf_trpo.cli import COMMANDS, main
from tf_trpo.figures import FIGURES

SCRIPTS = Path(__file__).parents[2] / "scripts"
SLOW_TO_IMPORT = {"tensorflow", "keras", "gymnasium", "tensorflow_probability", "scipy", "matplotlib", "starlette"}

WAYS = {
    **{f"scripts/{command}.py": [SCRIPTS / f"{command}.py", "--help"] for command in COMMANDS},
    **{f"python -m tf_trpo {command}": ["-m", "tf_trpo", command, "--help"] for command in COMMANDS},
    "python -m tf_trpo": ["-m", "tf_trpo", "--help"],
}


def run_python(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("arguments", WAYS.values(), ids=WAYS)
def test_help_comes_without_waiting_for_tensorflow(arguments):
    result = run_python("-X", "importtime", *arguments)
    assert result.returncode == 0
    assert "usage:" in result.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "tf_trpo" in imported
    assert not imported & SLOW_TO_IMPORT


def help_of(command, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([command, "--help"])
    assert exit_info.value.code == 0
    return capsys.readouterr().out


def test_help_of_train_names_every_setting_and_the_presets(capsys):
    text = help_of("train", capsys)
    for name in TrainSettings().flat():
        assert f"--{name.replace('_', '-')}" in text
    assert "--preset" in text
    assert "--allow-import" in text
    for name in [*bundled_presets(), "--preset none"]:
        assert name in " ".join(text.replace("│", " ").split())


def test_help_of_evaluate_and_export_names_their_options(capsys):
    text = help_of("evaluate", capsys)
    assert all(option in text for option in ("--episodes", "--stochastic", "--seed", "--allow-import", "--json"))
    text = help_of("export", capsys)
    assert all(option in text for option in ("--output", "--format", "--warmup", "--card"))


def test_help_of_serve_and_play_names_their_options(capsys):
    text = help_of("serve", capsys)
    options = ("host", "port", "trust", "max-batch", "max-request-bytes", "max-waiting", "timeout", "batching", "name")
    options += ("max-connections",)
    assert all(f"--{option}" in text for option in options)
    assert "127.0.0.1" in text
    text = help_of("play", capsys)
    options = ("model", "server", "episodes", "stochastic", "seed", "video", "json", "allow-import", "trust")
    assert all(f"--{option}" in text for option in options)


def test_help_of_figures_lists_the_figures(capsys):
    text = help_of("figures", capsys)
    assert "--output-dir" in text
    assert "--only" in text
    for number, entry in FIGURES.items():
        assert f"{number}: {entry.summary}" in " ".join(text.replace("│", " ").split())


def test_help_of_plot_and_of_what_is_about_suites_names_their_options(capsys):
    text = help_of("plot", capsys)
    assert all(option in text for option in ("--metric", "--x", "--suite", "--peers", "--output", "--report"))
    for command, options in {
        "learn": ("suite", "seeds", "first-seed", "only", "jobs", "runs-dir", "results-dir"),
        "results": ("suite", "layout", "into", "results-dir", "peers"),
        "export": ("suite", "only", "output", "runs-dir", "results-dir"),
    }.items():
        with pytest.raises(SystemExit) as exit_info:
            main(["benchmark", command, "--help"])
        assert exit_info.value.code == 0
        text = capsys.readouterr().out
        assert all(f"--{option}" in text for option in options)


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_an_unknown_command_ends_with_status_2_and_the_commands_there_are():
    result = run_python("-m", "tf_trpo", "trian")
    assert result.returncode == 2
    assert result.stdout == ""
    assert (
        result.stderr
        == "error: no command 'trian'; there are train, evaluate, benchmark, export, serve, play, figures, plot\n"
    )


def test_without_a_command_the_status_is_2(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([])
    assert exit_info.value.code == 2
    assert "train" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["train"], ["evaluate", "run"], ["export", "run", "--output", "model"]])
def test_an_unknown_option_ends_with_one_line_and_its_name(arguments, refused):
    error = refused(*arguments, "--no-such-option", "1")
    assert error == f"error: Unrecognized options: --no-such-option, 1; see {arguments[0]} --help"


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [(["evaluate"], "PATH"), (["export", "--output", "x"], "PATH"), (["export", "run"], "--output")],
)
def test_an_argument_that_is_missing_ends_with_one_line_and_its_name(arguments, missing, refused):
    assert missing in refused(*arguments)
