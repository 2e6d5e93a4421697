"""The callbacks that come with Keras, in the agent's own fit."""

import keras
import numpy as np
import pytest

import tf_trpo

STEPS_PER_ITERATION = 32


@pytest.fixture
def agent(borrow_agent):
    return borrow_agent("Pendulum-v1")


def fit(agent, *callbacks, iterations=3):
    """Episodes of Pendulum are never over within so few steps: an iteration is 32 of them."""
    steps = iterations * STEPS_PER_ITERATION
    return agent.fit(
        "Pendulum-v1", steps, num_envs=2, num_steps=STEPS_PER_ITERATION // 2, callbacks=callbacks, verbose=0
    ).history


def test_lambda_callback_is_called_in_keras_order_with_every_figure(agent):
    calls, logs_seen = [], {}

    def record(name):
        # Keras gives the logs by position or by name, as the hook may be.
        def call(*arguments, logs=None):
            *place, last = arguments if logs is None else (*arguments, logs)
            calls.append((name, *place))
            logs_seen[name] = dict(last or {})

        return call

    hooks = ("train_begin", "epoch_begin", "train_batch_begin", "train_batch_end", "epoch_end", "train_end")
    history = fit(agent, keras.callbacks.LambdaCallback(**{f"on_{hook}": record(hook) for hook in hooks}), iterations=2)
    iteration = [("train_batch_begin", 0), ("train_batch_end", 0)]
    assert calls == [
        ("train_begin",),
        *[("epoch_begin", 0), *iteration, ("epoch_end", 0)],
        *[("epoch_begin", 1), *iteration, ("epoch_end", 1)],
        ("train_end",),
    ]
    assert set(logs_seen["epoch_end"]) == set(history)
    assert {name: values[-1] for name, values in history.items()} == logs_seen["epoch_end"] == logs_seen["train_end"]


def test_one_callback_needs_no_list_and_is_told_of_the_trainer(agent):
    def look(epoch, logs):
        trainer = watch.params["trainer"]
        seen.append((trainer.env_steps, trainer.iterations, trainer.rollout.valid.shape, watch.params["total_steps"]))

    seen, watch = [], keras.callbacks.LambdaCallback(on_epoch_end=look)
    agent.fit("Pendulum-v1", 30, num_steps=16, num_envs=2, callbacks=watch, verbose=0)
    assert seen == [(32, 1, (16, 2), 30)]
    # A history that is kept does not keep the last rollout.
    assert agent.history.params["trainer"].rollout is None


def test_the_history_has_what_callbacks_add_and_nan_where_they_add_nothing(agent):

    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch:
                logs["mine"] = float(epoch)

    history = fit(agent, Adds())
    np.testing.assert_equal(history["mine"], [np.nan, 1.0, 2.0])
    assert agent.history.history is history
    assert {len(values) for values in history.values()} == {3}


class Fails(keras.callbacks.Callback):
    """Raises when it is told of something, after the agent's first iterations."""

    def __init__(self, hook, after):
        super().__init__()
        self.after = after
        setattr(self, hook, self.fail)

    def fail(self, *arguments, **named):
        if int(self.model.iterations) >= self.after:
            raise LookupError("no such column")


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end"])
def test_after_a_callback_that_raises_the_fit_can_be_resumed(
    hook, borrow_agent, variables_of, assert_same_weights, tmp_path
):
    whole, broken, resumed = (borrow_agent("Pendulum-v1") for _ in range(3))
    fit(whole)
    after = 3 if hook == "on_train_end" else 2
    with pytest.raises(LookupError, match="no such column"):
        fit(broken, Fails(hook, after), tf_trpo.callbacks.Checkpoint(tmp_path, None))
    sizes = {"num_envs": 2, "num_steps": STEPS_PER_ITERATION // 2, "verbose": 0}
    history = resumed.fit("Pendulum-v1", 3 * STEPS_PER_ITERATION, resume_from=tmp_path, **sizes).history
    assert len(history.get("time/iterations", ())) == 3 - after
    assert_same_weights(variables_of(resumed), variables_of(whole))


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin"])
def test_a_fit_that_has_not_begun_saves_nothing(hook, agent, tmp_path):
    with pytest.raises(LookupError):
        fit(agent, Fails(hook, 0), tf_trpo.callbacks.Checkpoint(tmp_path, None))
    assert not list(tmp_path.iterdir())


def test_an_update_that_raises_saves_nothing_and_a_save_that_fails_is_a_note(agent, tmp_path, monkeypatch):
    def fail(*given, **named):
        raise MemoryError("no memory")

    monkeypatch.setattr(agent.learner, "update", fail)
    with pytest.raises(MemoryError):
        fit(agent, tf_trpo.callbacks.Checkpoint(tmp_path, None))
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(tf_trpo.callbacks.Checkpoint, "save_on_failure", fail)
    with pytest.raises(LookupError, match="no such column") as raised:
        fit(agent, Fails("on_epoch_end", 1), tf_trpo.callbacks.Checkpoint(tmp_path, None))
    assert raised.value.__notes__ == ["The agent could not be saved: no memory"]


def test_epochs_go_on_where_the_agent_is(agent):
    epochs = []
    callback = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    for _ in range(2):
        fit(agent, callback, iterations=2)
    assert epochs == [0, 1, 2, 3]


def test_stop_training_ends_the_run_after_the_iteration(agent):
    def stop(epoch, logs):
        agent.stop_training = epoch == 1

    history = fit(agent, keras.callbacks.LambdaCallback(on_epoch_end=stop), iterations=5)
    assert len(history["time/iterations"]) == 2
    assert len(fit(agent, iterations=1)["time/iterations"]) == 1


@pytest.fixture
def weights(agent):
    """The agent's weights after each iteration, and a callback that notes them."""
    noted = []
    return noted, keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: noted.append(agent.get_weights()))


def test_early_stopping_stops_and_restores_the_best_weights(agent, weights, assert_same_weights):
    # A figure that gets worse all the time: the first iteration is the best one.
    early = keras.callbacks.EarlyStopping("time/total_timesteps", mode="min", patience=2, restore_best_weights=True)
    history = fit(agent, early, weights[1], iterations=10)
    assert len(history["time/iterations"]) == 3
    first, *_, last = weights[0]
    assert_same_weights(agent.get_weights(), first)
    assert any(not np.array_equal(value, other) for value, other in zip(first, last, strict=True))


def test_model_checkpoint_writes_agents_that_load(agent, tmp_path, weights, assert_same_weights):
    fit(agent, keras.callbacks.ModelCheckpoint(str(tmp_path / "agent-{epoch:02d}.keras")), weights[1], iterations=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["agent-01.keras", "agent-02.keras"]
    for iteration, expected in enumerate(weights[0], start=1):
        loaded = tf_trpo.load(tmp_path / f"agent-{iteration:02d}.keras")
        assert_same_weights(loaded.get_weights(), expected)
        assert loaded.iterations.numpy() == iteration


def test_learning_rate_scheduler_sets_the_rate_of_the_value_function_alone(agent):
    history = fit(agent, keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 / 2**epoch))
    np.testing.assert_allclose(history["train/learning_rate"], [0.01, 0.005, 0.0025], rtol=1e-6)
    models = (agent.value_function, agent.policy)
    before = [model.get_weights()[-2:] for model in models]
    fit(agent, keras.callbacks.LearningRateScheduler(lambda epoch: 0.0), iterations=2)
    same = [
        [np.array_equal(*pair) for pair in zip(old, model.get_weights()[-2:], strict=True)]
        for old, model in zip(before, models, strict=True)
    ]
    assert same == [[True, True], [False, False]]


def test_terminate_on_nan_lets_good_numbers_pass_and_stops_at_a_value_loss_that_is_not_finite(agent):
    assert len(fit(agent, keras.callbacks.TerminateOnNaN(), iterations=2)["time/iterations"]) == 2
    agent.optimizer.learning_rate = 1e30
    history = fit(agent, keras.callbacks.TerminateOnNaN(), iterations=3)
    assert len(history["time/iterations"]) == 1
    # Keras is told; the figure is left out of the logs, which hold finite numbers only.
    assert "train/value_loss" not in history
    assert history["train/faults"] == [1]


def test_backup_and_restore_finishes_an_interrupted_run(
    agent, borrow_agent, variables_of, assert_same_weights, tmp_path
):
    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    def crash(epoch, logs):
        if epoch == 2:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fit(agent, backup(), keras.callbacks.LambdaCallback(on_epoch_begin=crash), iterations=5)
    again = borrow_agent("Pendulum-v1")

    def compare(logs):
        assert_same_weights(variables_of(again), variables_of(agent))

    history = fit(again, backup(), keras.callbacks.LambdaCallback(on_train_begin=compare), iterations=5)
    assert history["time/iterations"] == [3, 4, 5]
    assert again.env_steps.numpy() == 5 * STEPS_PER_ITERATION
    elapsed = np.array(history["time/time_elapsed"])
    np.testing.assert_allclose(history["time/fps"], STEPS_PER_ITERATION * np.array([1, 2, 3]) / elapsed, rtol=1e-6)
    assert not (tmp_path / "backup").exists()
