"""The exit statuses of the library's errors."""

import sys

import pytest

from tf_trpo.cli import run_command
from tf_trpo.cli.errors import one_line_errors
from tf_trpo.environments import EnvironmentFailedError, InvalidStepError
from tf_trpo.environments.failures import UnfitSpaceError, WorkersLostError
from tf_trpo.experiment.run import RunNotWrittenError
from tf_trpo.training import TrainingFailedError
from tf_trpo.training.checkpoint import CheckpointError
from tf_trpo.tuning.tuning import TuningFailedError

STATUSES = {
    1: [RunNotWrittenError],
    2: [CheckpointError, UnfitSpaceError],
    3: [EnvironmentFailedError, WorkersLostError, InvalidStepError, TrainingFailedError, TuningFailedError],
}


@pytest.mark.parametrize(("status", "error"), [(status, each) for status in STATUSES for each in STATUSES[status]])
def test_an_error_gives_the_exit_status_of_its_class_or_base_class(status, error, capsys):
    with pytest.raises(SystemExit) as exit_info, one_line_errors():
        raise error("reason")
    assert exit_info.value.code == status
    assert capsys.readouterr().err == "error: reason\n"


def test_a_result_that_a_full_disk_does_not_take_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr("tf_trpo.cli.plot.main", lambda argv: print("a result"))
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as exit_info:
            run_command("plot", [])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"
