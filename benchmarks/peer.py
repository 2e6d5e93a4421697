"""The peer of a comparison: a process of another Python, which has sb3-contrib."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.workloads import Job

_SPEED = Path(__file__).with_name("sb3_speed.py")
_LEARN = Path(__file__).with_name("sb3_learn.py")

_ZOO = {
    "n_steps": 1024,
    "batch_size": 128,
    "cg_max_steps": 25,
    "n_critic_updates": 20,
    "learning_rate": 1e-3,
    "sub_sampling_factor": 1,
}
_ZOO_DIFFERENCES = {"HalfCheetah-v5": {"target_kl": 0.04}, "Swimmer-v5": {"gamma": 0.9999}}


class TimedPeer:
    """A process that runs one job at a time, and measures it."""

    def __init__(self, process: subprocess.Popen[str], said: IO[str]) -> None:
        self._said = said
        self._process = process

    def run(self, job: Job) -> float:
        """Run a job once and return its measurement; the first call for a job also prepares it.

        Raises:
          RuntimeError: the other Python failed; the message is the last line that it printed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job._asdict()) + "\n")
            self._process.stdin.flush()
            return float(json.loads(self._process.stdout.readline())["figure"])
        except (OSError, ValueError, KeyError, TypeError):
            raise RuntimeError(f"the peer could not run sb3-contrib: {self._last_words()}") from None

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        self._said.seek(0)
        return last_line(self._said.read())


def run_training(python: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """Run a job of sb3_learn.py by a Python that has sb3-contrib, and return the answer.

    Raises:
      RuntimeError: the program failed; the message is the last line that it printed.
    """
    command = [str(python), str(_LEARN), json.dumps(job)]
    try:
        ended = subprocess.run(command, capture_output=True, check=True, text=True, env=peer_environment())
        answer: dict[str, Any] = json.loads(last_line(ended.stdout))
    except subprocess.CalledProcessError as error:
        raise RuntimeError(last_line(error.stderr)) from error
    except (OSError, ValueError) as error:
        raise RuntimeError(f"the program gave no answer ({error})") from error
    return answer


def zoo_settings(env: str) -> dict[str, Any]:
    """Return the part of a job with RL Zoo's settings of sb3-contrib's TRPO for MuJoCo; the others are defaults."""
    return {"num_envs": 2, "arguments": _ZOO | _ZOO_DIFFERENCES.get(env, {})}


def last_line(said: str) -> str:
    """Return the last line of a program's output."""
    lines = said.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def peer_environment() -> dict[str, str]:
    """Return the environment variables of a peer's process, in which it can import this repository's environments."""
    return {**os.environ, "PYTHONPATH": str(_SPEED.parents[1])}


@contextlib.contextmanager
def start_peer(python: Path) -> Iterator[TimedPeer]:
    """Start the peer's program, which ends with the context.

    Args:
      python: path of a Python that has sb3-contrib.
    """
    # A file and not a pipe, which would fill up and block the program, because nobody reads it meanwhile.
    with tempfile.TemporaryFile("w+") as said:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [str(python), str(_SPEED)], stdin=pipe, stdout=pipe, stderr=said, text=True, env=peer_environment()
        )
        try:
            yield TimedPeer(process, said)
        finally:
            process.kill()
            # Input that the program has not read is lost.
            with contextlib.suppress(BrokenPipeError):
                process.communicate()
