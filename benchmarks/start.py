"""`start`: measure the time from the start of a process to the end of the first update and of a short training."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.timing import Measured, Measurement, Table, in_turns

_OURS = "import tf_trpo; tf_trpo.TRPO.for_env({env!r}, seed=0).fit({env!r}, {steps}, verbose=0)"
_AGAIN = """
import time
begin = time.perf_counter()
agent = tf_trpo.TRPO.for_env({env!r}, seed=1)
update = tf_trpo.learning.UpdateSettings(gamma=0.9)
agent.compile(tf_trpo.optimizers.TrustRegion(max_kl=0.02), update=update)
agent.fit({env!r}, {steps}, verbose=0)
print(time.perf_counter() - begin)
"""
_SB3 = "from sb3_contrib import TRPO; agent = TRPO('MlpPolicy', {env!r}, seed=0).learn({steps})"
_WITHIN = "first update of a second agent of other numbers, in the same process"
_SB3_AND_MORE = """
from stable_baselines3.common.evaluation import evaluate_policy
evaluate_policy(agent, agent.get_env(), 10, warn=False)
agent.save({path!r})
"""


@dataclasses.dataclass(frozen=True)
class Start(Measurement):
    """Measure whole processes: the first update, and a short training with evaluation and saving.

    "After another run" means that an earlier run has left XLA's compiled programs in the cache folder. Peak memory is
    Linux's VmHWM.
    """

    repeats: int = 3
    env: str = "CartPole-v1"
    """Gymnasium id."""
    steps: int = 2000
    """Environment steps of the short training; a rollout has 2048 rows."""
    against_sb3: Path | None = None
    """A Python that has sb3-contrib: measure its TRPO in turns with ours."""

    def tables(self) -> list[Table]:
        peaks: dict[str, list[float]] = {}
        with tempfile.TemporaryDirectory() as folder:
            commands = self._commands(Path(folder))
            ways: dict[str, Callable[[], float]] = {
                name: functools.partial(_run, command, Path(folder), name, peaks) for name, command in commands.items()
            }
            times = in_turns(ways, self.repeats, calls=1)
        title = f"A process from its start to its end, {self.steps} steps of {self.env}"
        # The first turn is a warm-up.
        memory = {name: Measured(tuple(of_turns[1:])) for name, of_turns in peaks.items()}
        return [(title, [{"work": name, "seconds": times[name], "peak memory, MB": memory[name]} for name in times])]

    def _commands(self, folder: Path) -> Mapping[str, list[str]]:
        known = {"env": self.env, "steps": self.steps, "path": str(folder / "sb3.zip")}
        train = [sys.executable, "-m", "tf_trpo", "train", "--env", self.env, "--total-steps", str(self.steps)]
        train += ["--run-dir", str(folder / "run"), "--quiet", "--threads", str(self.threads)]
        threads = f"from tf_trpo.learning.devices import use_threads; use_threads({self.threads}); "
        ours = (threads if self.threads else "") + _OURS
        peers = f"import torch; torch.set_num_threads({self.threads}); " + _SB3 if self.threads else _SB3
        commands = {
            "first update": [sys.executable, "-c", ours.format(**known)],
            _WITHIN: [sys.executable, "-c", ours.format(**known) + _AGAIN.format(**known)],
            "train": train,
            "train, after another run": train,
        }
        if self.against_sb3 is not None:
            commands["sb3: first update"] = [str(self.against_sb3), "-c", peers.format(**known)]
            code = peers.format(**known) + _SB3_AND_MORE.format(**known)
            commands["sb3: train, evaluated and saved"] = [str(self.against_sb3), "-c", code]
        return commands


def _run(command: list[str], folder: Path, name: str, peaks: dict[str, list[float]]) -> float:
    """Run a command; return its seconds, or those that it prints, and append its peak memory in MB to `peaks`."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    if name == "train":
        shutil.rmtree(folder / "tf_trpo", ignore_errors=True)
    environment = {key: value for key, value in os.environ.items() if key != "TF_XLA_FLAGS"}
    environment |= {"XDG_CACHE_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    start, peak = time.perf_counter(), 0.0
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL) as process,
    ):
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            peak = max([peak, *(float(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))])
            time.sleep(0.02)
        elapsed = time.perf_counter() - start
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
        output.seek(0)
        elapsed = float(output.read()) if name == _WITHIN else elapsed
    peaks.setdefault(name, []).append(peak)
    return elapsed
