"""Runs from Python: errors are exceptions, and nothing is left behind."""

import json
import logging
import random
import signal

import numpy as np
import pytest

import tf_trpo
from tf_trpo.callbacks import StopOnSignal
from tf_trpo.experiment import RunFolder
from tf_trpo.experiment.run import Run
from tf_trpo.rollouts import actor

TINY = {"total_steps": 48, "num_envs": 2, "num_steps": 12, "value_epochs": 1, "jit_compile": False}
TINY |= {"hidden_sizes": [4], "value_hidden_sizes": [4], "eval_episodes": 1, "quiet": True}


def test_a_resumed_fit_compares_the_environment_s_arguments(tmp_path):
    agent = tf_trpo.Experiment().replace(**TINY).make_agent()
    settings = {"num_envs": 2, "num_steps": 12, "verbose": 0}
    checkpoint = tf_trpo.callbacks.Checkpoint(tmp_path, None)
    agent.fit("CartPole-v1", 24, env_kwargs={"max_episode_steps": 30}, callbacks=checkpoint, **settings)
    with pytest.raises(tf_trpo.training.CheckpointError, match=r"env_kwargs/max_episode_steps 30, not 40"):
        agent.fit("CartPole-v1", 24, env_kwargs={"max_episode_steps": 40}, resume_from=tmp_path, **settings)


def test_a_warning_before_the_folder_is_made_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise ValueError("LiteRT has no such operation")

    monkeypatch.setattr(actor, "LiteActor", refuse)
    with caplog.at_level(logging.WARNING, "tf_trpo"):
        tf_trpo.Experiment().replace(**TINY).train(tmp_path / "run")
    assert "acting through TensorFlow" in caplog.text
    assert (tmp_path / "run" / "evaluation.json").is_file()


def test_a_run_that_cannot_begin_restores_the_signal_handlers(tmp_path):
    before = [signal.getsignal(number) for number in StopOnSignal.SIGNALS]
    # The folder was made by somebody else after the first check.
    run = Run(tf_trpo.Experiment().replace(**TINY), RunFolder(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError, match="the run folder exists"):
        run.train()
    assert [signal.getsignal(number) for number in StopOnSignal.SIGNALS] == before


def test_a_run_folder_that_exists_is_refused_before_the_agent_is_made(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(tf_trpo.Experiment, "make_agent", lambda self: pytest.fail("the agent was made"))
    with pytest.raises(FileExistsError, match=r"train into another folder .+, or continue this run with resume=True"):
        tf_trpo.Experiment().replace(**TINY).train(tmp_path / "run")


def test_an_environment_that_uses_the_global_generators_is_seeded_too():
    draws = []
    for seed in (1, 1, 2):
        tf_trpo.Experiment().replace(seed=seed, **TINY).make_agent()
        draws.append((random.random(), np.random.random()))  # noqa: NPY002
    assert draws[0] == draws[1]
    assert not set(draws[0]) & set(draws[2])


def test_a_run_that_is_resumed_with_other_versions_says_so_and_keeps_the_earlier_ones(tmp_path):
    folder, experiment = RunFolder(tmp_path / "run"), tf_trpo.Experiment().replace(**TINY | {"total_steps": 24})
    experiment.train(folder.path)
    first = json.loads(folder.config.read_text())
    assert "earlier" not in first
    taken = int(experiment.replace(total_steps=48).train(folder.path, resume=True).agent.env_steps)
    same = json.loads(folder.config.read_text())
    assert same == {**first, "settings": same["settings"], "earlier": []}
    other = {**same, "threads": 99, "versions": {**first["versions"], "tensorflow": "1.15"}}
    folder.config.write_text(json.dumps(other))
    tf_trpo.Experiment.from_run(folder.path).replace(total_steps=72).train(folder.path, resume=True)
    last = json.loads(folder.config.read_text())
    [earlier] = last.pop("earlier")
    del other["settings"], other["earlier"]
    assert earlier == {**other, "until_step": taken}
    assert last == {**first, "settings": last["settings"]}
    said = folder.events.read_text()
    assert f"the first {taken} steps of this run were made with tensorflow '1.15', now '2." in said
    assert f"threads 99, now {first['threads']}\n" in said
