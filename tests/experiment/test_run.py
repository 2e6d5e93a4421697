"""Runs from Python: errors are exceptions, and nothing is left behind."""

import errno
import json
import logging
import random
import signal
from urllib.error import URLError

import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.callbacks import LambdaCallback

import tf_trpo
from tf_trpo.callbacks import StopOnSignal
from tf_trpo.cli import main
from tf_trpo.experiment import RunFolder
from tf_trpo.experiment.run import Run, RunNotWrittenError
from tf_trpo.figures.histories import read_history
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


class Adds(keras.callbacks.Callback):
    """Adds a figure to the logs, and halves the value function's rate."""

    def __init__(self, fails_in=None):
        super().__init__()
        self.fails_in = fails_in

    def on_epoch_end(self, epoch, logs=None):
        logs["mine"] = float(epoch)
        rate = self.model.optimizer.learning_rate
        rate.assign(rate / 2)
        if epoch == self.fails_in:
            raise LookupError("no such column")


def test_files_have_what_callbacks_add_and_change(tmp_path):
    experiment = tf_trpo.Experiment().replace(**TINY)
    # One callback needs no list.
    agent = experiment.train(tmp_path / "run", callbacks=Adds()).agent
    iterations = int(agent.iterations)
    assert read_history(tmp_path / "run" / "history.csv")["mine"].tolist() == list(range(iterations))
    other = experiment.make_agent()
    other.load_checkpoint(tmp_path / "run" / "checkpoints")
    assert float(other.optimizer.learning_rate) == pytest.approx(1e-3 / 2**iterations)


def test_a_run_whose_callback_raises_is_saved_and_can_be_resumed(tmp_path):
    experiment = tf_trpo.Experiment().replace(**TINY)
    with pytest.raises(LookupError, match="no such column"):
        experiment.train(tmp_path / "run", callbacks=[Adds(fails_in=1)])
    assert int(tf_trpo.load(tmp_path / "run" / "agent.keras").iterations) == 2
    again = experiment.train(tmp_path / "run", callbacks=[Adds()], resume=True).agent
    whole = experiment.train(tmp_path / "whole", callbacks=[Adds()]).agent
    for weight, expected in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), RunNotWrittenError),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), ConnectionRefusedError),
        (TimeoutError("timed out"), TimeoutError),
        (URLError("no host"), URLError),
    ],
)
def test_only_errors_of_files_say_that_the_run_cannot_be_written(error, raised, tmp_path):
    def fail(epoch, logs):
        raise error

    with pytest.raises(raised) as failure:
        tf_trpo.Experiment().replace(**TINY).train(tmp_path / "run", callbacks=LambdaCallback(on_epoch_end=fail))
    assert type(failure.value) is raised


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


@pytest.mark.parametrize("resumed", [False, True])
def test_a_second_training_in_the_folder_of_a_run_is_refused_and_changes_nothing(resumed, tmp_path):
    folder, experiment = RunFolder(tmp_path / "run"), tf_trpo.Experiment().replace(**TINY)
    refused = []

    def begin_again(epoch, logs):
        # A checkpoint that another process is writing.
        partial = folder.checkpoints / ".partial-0123abcd.ckpt"
        partial.write_text("half")
        with pytest.raises(ValueError, match="another process is training in"):
            experiment.train(folder.path, resume=True)
        refused.append(partial.read_text())

    if resumed:
        experiment.replace(total_steps=24).train(folder.path)
    agent = experiment.train(folder.path, callbacks=LambdaCallback(on_epoch_end=begin_again), resume=resumed).agent
    assert set(refused) == {"half"}
    assert read_history(folder.history)["time/iterations"].tolist() == list(range(1, int(agent.iterations) + 1))
    # The lock has ended with the run.
    experiment.replace(total_steps=72).train(folder.path, resume=True)


def test_a_run_that_is_killed_before_its_export_is_not_complete(tmp_path, monkeypatch):
    folder, experiment = RunFolder(tmp_path / "run"), tf_trpo.Experiment().replace(**TINY, export=True)
    with monkeypatch.context() as patch:
        patch.setattr(tf_trpo.TRPO, "export", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            experiment.train(folder.path)
    assert not folder.is_complete()
    experiment.train(folder.path, resume=True)
    assert folder.is_complete()
    assert (folder.saved_model / "1").is_dir()


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
    assert said.count("no episode has ended in training") == 1
    assert f"threads 99, now {first['threads']}\n" in said


def test_every_evaluation_of_a_run_cuts_endless_episodes_and_the_last_one_says_before_how_long_it_may_be(tmp_path):
    endless = {"env": "gymnasium.envs.classic_control:PendulumEnv", "max_episode_steps": 100, "eval_every": 40}
    trained = (
        tf_trpo.Experiment().replace(**TINY | endless | {"eval_episodes": 2, "total_steps": 72}).train(tmp_path / "run")
    )
    assert trained.evaluation["mean_length"] == 100
    folder = RunFolder(tmp_path / "run")
    np.testing.assert_array_equal(read_history(folder.history)["eval/mean_ep_length"], [np.nan, 100, np.nan])
    said = folder.events.read_text()
    assert "if none ends in the evaluation, it takes 200 steps, eval_episodes (2) times max_episode_steps (100;" in said
    assert said.count("2 of 2 episodes had no end after 100 steps; they are cut there") == 2


def test_weights_that_were_evaluated_when_training_ended_are_not_evaluated_again(tmp_path, monkeypatch):
    experiment, calls, evaluate = tf_trpo.Experiment().replace(**TINY, eval_every=1), [], tf_trpo.TRPO.evaluate
    monkeypatch.setattr(tf_trpo.TRPO, "evaluate", lambda *given, **how: calls.append(how) or evaluate(*given, **how))
    trained = experiment.train(tmp_path / "run")
    assert len(calls) == int(trained.agent.iterations)
    assert trained.evaluation == evaluate(trained.agent, "CartPole-v1", 1)

    # A callback may change the weights after the last evaluation.
    def shift(logs):
        changing.model.average.theta.assign_add(tf.ones_like(changing.model.average.theta))

    changing = LambdaCallback(on_train_end=shift)
    trained = experiment.train(tmp_path / "other", callbacks=changing)
    assert len(calls) == 2 * int(trained.agent.iterations) + 1
    assert trained.evaluation == evaluate(trained.agent, "CartPole-v1", 1)


class OnlyOne(gymnasium.Wrapper):
    """An environment of a program that can be open only once."""

    is_open = False

    def __init__(self, env):
        super().__init__(env)
        if OnlyOne.is_open:
            raise OSError("all 1 licences are in use")
        OnlyOne.is_open = True

    def close(self):
        OnlyOne.is_open = False
        super().close()


def test_a_simulator_that_can_be_open_only_once_is_evaluated_by_one_environment(tmp_path):
    once = TINY | {"num_envs": 1, "eval_episodes": 2, "wrapper": [f"{__name__}:OnlyOne"]}
    experiment = tf_trpo.Experiment().replace(**once)
    with pytest.raises(tf_trpo.environments.EnvironmentFailedError, match=r"are in use; eval_envs limits"):
        experiment.train(tmp_path / "run")
    OnlyOne.is_open = False
    trained = experiment.replace(eval_envs=1).train(tmp_path / "run", resume=True)
    assert trained.evaluation["episodes"] == 2
    main(["evaluate", str(tmp_path / "run"), "--episodes", "2", "--allow-import"])
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "run"), "--episodes", "2", "--allow-import", "--num-envs", "2"])
    OnlyOne.is_open = False


def test_a_run_leaves_the_generators_of_the_process_as_they_were(tmp_path):
    # Another run may have been the last to seed them.
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    states = [random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002
    tf_trpo.Experiment().replace(**TINY).train(tmp_path / "run")
    with pytest.raises(FileExistsError):
        tf_trpo.Experiment().replace(**TINY).train(tmp_path / "run")
    assert [random.getstate(), np.random.get_state()[1].tolist()] == states  # noqa: NPY002
