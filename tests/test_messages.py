"""Messages that never end a run."""

import subprocess
import sys

import pytest

from tf_trpo.messages import rounded, say, stream


def test_what_nobody_reads_and_what_has_no_stream_is_dropped(unread, monkeypatch):
    with unread():
        say("lost")
        say("lost", "stdout")
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
        say("dropped", name)
        assert not stream(name).isatty()


def test_messages_go_where_they_belong(capsys):
    say("an error")
    say("a result", "stdout")
    assert capsys.readouterr() == ("a result\n", "an error\n")


@pytest.mark.parametrize(
    ("redirected", "status"),
    [
        ("plot missing >&-", 2),
        ("plot missing 2>&-", 2),
        ("--version >&-", 0),
        ("--version 2>&-", 0),
    ],
)
def test_a_command_with_a_closed_or_full_output_has_its_own_status(redirected, status):
    command = f"{sys.executable} -m tf_trpo {redirected}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=100)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)


def test_a_small_number_does_not_look_like_0():
    assert [rounded(value) for value in (-1234.56, 9.0, 1.0, 0.0)] == ["-1234.6", "9.0", "1.0", "0.0"]
    assert [rounded(value, 2) for value in (1.0, 0.05, -1.23456e-6)] == ["1.00", "0.05", "-1.235e-06"]
