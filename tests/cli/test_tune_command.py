"""`tune` on the command line: from a search to a run with its best settings, and refusals."""

import dataclasses
import json
import subprocess
import sys

import pytest
import yaml

from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.cli.tune import REFUSED, TuneOptions, read_command
from tf_trpo.experiment.conversion import leaves
from tf_trpo.experiment.options import option_name
from tf_trpo.extras import not_installed
from tf_trpo.tuning import Choice, Range, Tuning, TuningFailedError
from tf_trpo.tuning.training import watched

TINY = ["--trials", "3", "--steps", "64", "--evaluations", "2", "--check-seeds", "1"]


@pytest.fixture
def base(small):
    """Options of a small training, except its steps."""
    where = small.index("--total-steps")
    return [*small[:where], *small[where + 2 :]]


def test_train_accepts_the_best_settings(base, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("max_kl: {low: 1e-3, high: 0.1, log: true}\ngamma: [0.9, 0.99]\n")
    main(["tune", "--env", "CartPole-v1", *base, *TINY, "--space", "space.yaml", "--output", "found"])
    captured = capsys.readouterr()
    assert captured.err.startswith("default settings: preset none; trainings of 64 steps\n")
    assert [line.split()[:3] for line in captured.err.splitlines()[1:4]] == [
        ["trial", str(i), "complete"] for i in range(3)
    ]
    assert "Trials: 3 complete" in captured.out
    result = json.loads((tmp_path / "found" / "result.json").read_text())
    assert result["verdict"] in captured.out
    *_, line, _ = captured.out.splitlines()
    command = line.partition("python -m tf_trpo ")[2].split()
    assert command == ["train", "--preset", "found/best.yaml"]
    main([*command, "--run-dir", "run", "--quiet", "--eval-episodes", "2"])
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert {name: settings[name] for name in ("max_kl", "gamma")} == result["best"]["settings"]
    assert (settings["env"], settings["total_steps"], settings["hidden_sizes"]) == ("CartPole-v1", 64, [4])
    assert settings["seed"] == 0


def test_the_result_is_printed_although_the_check_failed(base, tmp_path, monkeypatch, capsys):
    def failed(*_):
        raise TuningFailedError("it fell apart")

    monkeypatch.setattr("tf_trpo.tuning.search.work_on_check", failed)
    # A trial with other settings is the best.
    monkeypatch.setattr("tf_trpo.tuning.work.train_once", lambda experiment, *_: experiment.algorithm.max_kl)
    with pytest.raises(SystemExit) as exit_info:
        main(["tune", "--env", "CartPole-v1", *base, *TINY, "--output", str(tmp_path)])
    assert exit_info.value.code == 3
    captured = capsys.readouterr()
    assert "check on fresh seeds FAILED: it fell apart. Keep the default settings" in captured.out
    assert captured.err.splitlines()[-1] == "error: it fell apart; the same command repeats the check"


def test_options_are_those_of_the_search_and_the_settings_of_train(tmp_path):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"gae_lambda": {"low": 0.8, "high": 1}, "gamma": [0.9, 0.95]}))
    arguments = ["--env", "Pendulum-v1", "--steps", "500", "--seed", "3", "--max-kl", "0.2", "--no-prune"]
    options, tuning, source = read_command([*arguments, "--space", str(tmp_path / "space.yaml"), "--jobs", "2"])
    assert tuning == Tuning(
        Experiment.from_preset("Pendulum-v1", total_steps=500, seed=3, max_kl=0.2),
        space={"gae_lambda": Range(0.8, 1.0), "gamma": Choice((0.9, 0.95))},
        jobs=2,
        prune=False,
    )
    assert options.output is None
    assert source == "preset classic_control, for Pendulum-v1"


def test_without_steps_trainings_are_as_long_as_the_preset_says(tmp_path):
    (tmp_path / "mine.yaml").write_text("total_steps: 300000")
    for arguments, steps in ((["--preset", str(tmp_path / "mine.yaml")], 300_000), (["--env", "Hopper-v5"], 1_000_000)):
        _, tuning, _ = read_command(arguments)
        assert tuning.experiment.run.total_steps == steps
        assert "total_steps" not in tuning.fixed_settings
        assert read_command([*arguments, "--steps", "500"])[1].experiment.run.total_steps == 500


def test_settings_that_are_given_as_options_are_not_searched_by_default():
    given = ["--env", "Pendulum-v1", "--gamma", "0.9", "--max-kl", "0.05", "--no-normalize-rewards", "--quiet"]
    assert read_command(given)[1].fixed_settings == ("gamma", "max_kl", "normalize_rewards")
    assert read_command(["--env", "Pendulum-v1", "--seed", "3", "--threads", "1"])[1].fixed_settings == ()


def test_no_option_of_a_search_has_the_name_of_a_setting():
    assert not {field.name for field in dataclasses.fields(TuneOptions)} & leaves(Experiment).keys()


def test_the_settings_that_a_search_sets_itself_are_refused():
    given = {"eval_every": 7, "checkpoint_every": 7, "histogram_every": 7, "video_every": 7, "export": True}
    experiment = Experiment().replace(**given)
    found, wanted = watched(experiment, 2).flat(), experiment.flat()
    replaced = {name for name in found if found[name] != wanted[name]} - {"quiet"}
    assert {*REFUSED} == replaced | {"total_steps"}
    for name in replaced:
        with pytest.raises(ValueError, match=f"^{option_name(name)}: the "):
            read_command([option_name(name), *([] if name == "export" else ["5"])])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--total-steps", "5"], "--total-steps: the steps of a training are given by --steps"),
        (["--trials", "0"], "trials must be in [1, 100000], got 0"),
        (["--space", "none.yaml"], "search space none.yaml cannot be read"),
        (["--trails", "5"], "unrecognized options: --trails 5; there is --trials; see tune --help"),
        (["--preset", "no-such"], "preset no-such"),
        (["--env", "no_such_module:Env-v0"], "add --allow-import"),
    ],
)
def test_bad_options_are_refused(arguments, message, refused):
    assert message in refused("tune", *arguments)


def test_without_optuna_the_extra_is_named():
    code = "import sys; sys.modules['optuna'] = None; from tf_trpo.cli import main; main(['tune'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (2, f"error: {not_installed('optuna')}\n")


@pytest.mark.parametrize("jobs", [1, 2])
def test_only_a_search_in_this_process_uses_the_cache_of_programs(jobs, base, tmp_path, monkeypatch):
    def stopped(self, folder):
        raise KeyboardInterrupt

    used = []
    monkeypatch.setattr("tf_trpo.cli.tune.reuse_compiled_programs", used.append)
    monkeypatch.setattr(Tuning, "run", stopped)
    with pytest.raises(SystemExit):
        main(["tune", *base, "--jobs", str(jobs), "--output", str(tmp_path / "found")])
    assert len(used) == (jobs == 1)


def test_ctrl_c_says_how_to_continue(base, tmp_path, monkeypatch, capsys):
    def stopped(self, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(Tuning, "run", stopped)
    with pytest.raises(SystemExit) as exit_info:
        main(["tune", *base, "--output", str(tmp_path / "found")])
    assert exit_info.value.code == 130
    assert "the same command continues the search" in capsys.readouterr().err
