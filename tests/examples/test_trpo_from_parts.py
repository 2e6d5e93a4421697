"""The example that is put together from parts learns CartPole."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_algorithm_1_from_parts_learns_cartpole():
    done = subprocess.run(
        [sys.executable, "examples/trpo_from_parts.py", "--seed", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    *iterations, last = done.stdout.splitlines()
    assert all(float(re.search(r"KL (\S+),", line)[1]) <= 0.01 for line in iterations)
    assert len((ROOT / "examples" / "trpo_from_parts.py").read_text(encoding="utf-8").splitlines()) <= 150
    assert float(re.fullmatch(r"mean return of 100 episodes: (\S+)", last)[1]) >= 475
