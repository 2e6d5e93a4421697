"""Training that fails half-way: one line, status 3, and a run that goes on where it was."""

import gymnasium as gym
import numpy as np
import pytest

from tf_trpo.cli import main


class Fragile(gym.Env):
    """Fails in its 100th step, in the way that `mode` says; sound once `mode` is None."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    mode = None

    def __init__(self):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        failing = self.mode if self.steps >= 100 else None
        if failing == "raise":
            raise RuntimeError("out of memory")
        reward = float("nan") if failing == "nan" else 1.0
        return np.full(2, 0.1, np.float32), reward, self.steps % 5 == 0, False, {}


gym.register("FragileForTests-v0", Fragile)


def train(folder, mode, monkeypatch, *more):
    monkeypatch.setattr(Fragile, "mode", mode)
    small = "--num-steps 64 --no-jit-compile --hidden-sizes 4 --value-hidden-sizes 4 --value-epochs 1 --eval-episodes 2"
    command = ["train", "--env", "FragileForTests-v0", "--run-dir", str(folder), "--total-steps", "256", *small.split()]
    main([*command, *more])


# The state of an environment that failed is not kept; tests/agents/test_faults.py looks for the warning.
@pytest.mark.filterwarnings("ignore:the environments' state is not in the checkpoint:UserWarning")
@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("raise", "error: environment 0 raised RuntimeError: out of memory, in row 54 of the rollout of iteration 1"),
        ("nan", "error: 4 faults in a row, the last one: environment 0 gave a reward that is not finite (nan), in row"),
    ],
)
def test_a_run_that_fails_is_saved_and_goes_on(mode, message, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as exit_info:
        train(folder, mode, monkeypatch, "--max-faults", "4")
    assert exit_info.value.code == 3
    output = capsys.readouterr()
    assert output.err.splitlines()[-1].startswith(message)
    assert f"train --resume {folder}" in output.out
    assert "Traceback" not in output.err
    assert (folder / "agent.keras").is_file()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["steps-000000000054"]
    assert (folder / "events.log").exists() == (mode == "nan")
    if mode == "nan":
        lines = (folder / "events.log").read_text().splitlines()
        assert [line.split(" WARNING ")[1].split(":")[0] for line in lines] == [f"fault {n}" for n in (1, 2, 3, 4)]
    monkeypatch.setattr(Fragile, "mode", None)
    main(["train", "--resume", str(folder)])
    assert (folder / "evaluation.json").is_file()
    rows = (folder / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + 5


def test_an_evaluation_that_fails_says_so(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    train(folder, None, monkeypatch)
    capsys.readouterr()
    monkeypatch.setattr(Fragile, "mode", "raise")
    with pytest.raises(SystemExit) as exit_info:
        main(["evaluate", str(folder), "--episodes", "50"])
    assert exit_info.value.code == 3
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "error: FragileForTests-v0 failed: environment 0 raised RuntimeError: out of memory, in row 118"
    )
