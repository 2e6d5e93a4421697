"""Ctrl-C outside of training: one line and exit status 130, whatever the command is doing."""

import importlib
import json
import os
import signal

import pytest

import tf_trpo
from tf_trpo.cli import COMMANDS, main
from tf_trpo.cli.errors import one_line_errors


def ctrl_c(*_, **__):
    os.kill(os.getpid(), signal.SIGINT)
    raise AssertionError("it was not interrupted")


def interrupted(capsys, *arguments):
    """The output of a command that gets Ctrl-C."""
    with pytest.raises(SystemExit) as exit_info:
        main([*map(str, arguments)])
    assert exit_info.value.code == 130
    captured = capsys.readouterr()
    assert captured.err == "error: interrupted\n"
    return captured.out


@pytest.mark.parametrize("command", COMMANDS)
def test_while_a_command_is_imported(command, monkeypatch, capsys):
    monkeypatch.setattr(importlib, "import_module", ctrl_c)
    assert interrupted(capsys, command) == ""


def test_while_training_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tf_trpo.TRPO, "for_env", ctrl_c)
    assert interrupted(capsys, "train", "--run-dir", tmp_path / "run") == ""
    assert not (tmp_path / "run").exists()


def test_in_the_final_evaluation(small, tmp_path, monkeypatch, capsys):
    """The trained agent is saved already, and the run can be resumed."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(tf_trpo.TRPO, "evaluate", ctrl_c)
        assert interrupted(capsys, "train", "--quiet", "--run-dir", run, *small) == ""
    assert int(tf_trpo.load(run / "agent.keras").env_steps) >= 64
    assert not (run / "evaluation.json").exists()
    main(["train", "--resume", str(run), "--quiet"])
    assert capsys.readouterr() == ("", "")
    assert json.loads((run / "evaluation.json").read_text())["episodes"] == 2


def test_other_errors_pass_unchanged(capsys):
    with pytest.raises(SystemExit) as exit_info, one_line_errors(), one_line_errors():
        raise SystemExit(143)
    assert exit_info.value.code == 143
    assert capsys.readouterr() == ("", "")
