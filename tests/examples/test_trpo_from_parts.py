"""The example that is built from parts keeps every step within the trust region, and learns CartPole."""

import re
from pathlib import Path

import pytest

from examples import trpo_from_parts


@pytest.mark.parametrize(("iterations", "least_return"), [(2, 10), pytest.param(None, 475, marks=pytest.mark.slow)])
def test_algorithm_1_from_parts_learns_cartpole(iterations, least_return, monkeypatch, capsys):
    for name, value in {"ITERATIONS": iterations, "VALUE_EPOCHS": 2, "STEPS": 64}.items() if iterations else ():
        monkeypatch.setattr(trpo_from_parts, name, value)
    trpo_from_parts.main(seed=0)
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == trpo_from_parts.ITERATIONS
    assert all(float(re.search(r"KL (\S+),", line)[1]) <= 0.01 for line in lines)
    assert len(Path(trpo_from_parts.__file__).read_text(encoding="utf-8").splitlines()) <= 150
    assert float(re.fullmatch(r"mean return of 100 episodes: (\S+)", last)[1]) >= least_return
