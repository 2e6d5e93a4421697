"""`train --demonstrations`: a run clones once, at its beginning, and imitates while it learns."""

import numpy as np

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.demonstrations import record, write
from tf_trpo.experiment import RunFolder
from tf_trpo.figures.histories import read_history
from tf_trpo.training import TRPO


def test_a_run_begins_with_a_clone_imitates_and_does_not_clone_again_when_it_is_resumed(
    small, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    shown = record(lambda observation: int(observation[2] + observation[3] > 0), "CartPole-v1", 2)
    write(shown, "cartpole/linear-v0")
    cloned = []
    original = TRPO.clone
    monkeypatch.setattr(TRPO, "clone", lambda *args, **kwargs: cloned.append(args[1:]) or original(*args, **kwargs))
    folder = RunFolder(tmp_path / "run")
    options = ["--demonstrations", "cartpole/linear-v0", "--clone-epochs", "40", "--no-quiet"]
    options += ["--demonstration-weight", "0.5"]
    main(["train", *small, *options, "--run-dir", str(folder.path)])
    assert cloned == [("cartpole/linear-v0", 40)]
    assert "cloned cartpole/linear-v0: 0." in capsys.readouterr().err
    experiment = Experiment.from_run(folder.path)
    assert (experiment.start.demonstrations, experiment.start.clone_epochs) == ("cartpole/linear-v0", 40)
    agent = tf_trpo.load(folder.agent)
    actions = [agent.predict(row) for row in shown.episodes[0].observations[:-1]]
    assert np.mean(actions == shown.episodes[0].actions) > 0.75
    assert agent.policy_optimizer.imitation.demonstration_weight == 0.5
    bonuses = read_history(folder.history)["train/demonstration_bonus"]
    assert len(bonuses) >= 2
    assert max(bonuses) > 0
    more = 2 * experiment.run.total_steps
    main(["train", "--resume", str(folder.path), "--total-steps", str(more)])
    assert len(cloned) == 1


def test_a_missing_dataset_ends_with_one_line_and_no_folder(small, refused, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    folder = tmp_path / "run"
    error = refused("train", *small, "--demonstrations", "cartpole/none-v0", "--run-dir", folder)
    assert error.startswith("error: there is no dataset 'cartpole/none-v0'")
    assert not folder.exists()
    error = refused("train", *small, "--clone-epochs", "3", "--run-dir", folder)
    assert error == "error: clone_epochs must be None without demonstrations, got 3"
