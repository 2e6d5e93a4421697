"""The times of evaluations and checkpoints, with an agent and a trainer that only count."""

import inspect

import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.callbacks import Checkpoint, EpisodeVideo, Evaluate, TensorBoard, every_steps
from tf_trpo.callbacks.every_steps import EVALUATING, MAKING, EverySteps


class StandIn:
    """The part of an agent and a trainer that callbacks use; evaluations return the number of steps."""

    def __init__(self, steps=0):
        self.env_steps = tf.Variable(steps, dtype=tf.int64)
        self.evaluated, self.saved, self.checked = [], [], []
        self.full = self.stop_training = False
        self.rollout, self.costs, self.policy = None, (), "a policy"

    def evaluate(self, environment, **kwargs):
        self.evaluated.append((environment, kwargs))
        steps = float(self.env_steps.numpy())
        return {"mean_return": steps, "std_return": 0.0, "mean_length": -steps, "episodes": 1}

    def get_weights(self):
        return [self.env_steps.numpy()]

    def check_directory(self, directory):
        self.checked.append((str(directory), int(self.env_steps)))

    def save_checkpoint(self, directory, *, keep, overwrite=False, discard_newer=False):
        if self.full:
            raise OSError("full")
        self.saved.append((str(directory), int(self.env_steps), keep))
        self.overwritten = overwrite


def run(callback, start, *step_counts):
    """The stand-in, and the logs after iterations that ended at the given steps."""
    stand_in, all_logs = StandIn(start), []
    callback.set_model(stand_in)
    callback.set_params({"trainer": stand_in})
    callback.on_train_begin()
    for epoch, steps in enumerate(step_counts):
        stand_in.env_steps.assign(steps)
        all_logs.append({"figure": 1.0})
        callback.on_epoch_end(epoch, all_logs[-1])
    return stand_in, all_logs


@pytest.mark.parametrize("start", [0, 7, 100, 101])
def test_every_multiple_is_passed_once(start):
    every = EverySteps(10)
    every.start(start)
    reached = [total for total in range(start + 1, start + 41) if every.reached(total)]
    assert reached == [total for total in range(start + 1, start + 41) if total % 10 == 0]


@pytest.fixture
def checked(monkeypatch):
    """The policies that are compared with environments, and the numbers of these environments."""
    seen = []
    monkeypatch.setattr(every_steps, "check_fit", lambda policy, vector: seen.append((policy, vector.num_envs)))
    return seen


def test_results_are_only_in_the_logs_of_iterations_with_an_evaluation(checked):
    stand_in, logs = run(Evaluate("CartPole-v1", 100, episodes=7, seed=3), 0, 60, 100, 199, 230, 320, 330)
    assert checked == [("a policy", 1)]
    nothing = {"figure": 1.0}
    assert logs == [
        nothing if steps is None else nothing | {"eval/mean_reward": steps, "eval/mean_ep_length": -steps}
        for steps in (None, 100, None, 230, 320, None)
    ]
    assert stand_in.evaluated == [("CartPole-v1", {"episodes": 7, "seed": 3})] * 3


def test_a_result_is_present_until_the_weights_change(checked):
    callback = Evaluate("CartPole-v1", 100)
    assert callback.present_result() is None
    stand_in, _ = run(callback, 0, 60, 100)
    assert callback.present_result() == stand_in.evaluate("CartPole-v1")
    stand_in.env_steps.assign(101)
    assert callback.present_result() is None


def test_a_resumed_training_is_evaluated_at_the_same_steps_as_an_uninterrupted_one(checked):
    assert not run(Evaluate("CartPole-v1", 100), 1050, 1060, 1099)[0].evaluated
    assert len(run(Evaluate("CartPole-v1", 100), 1099, 1101, 1199)[0].evaluated) == 1


@pytest.mark.parametrize(
    ("every_steps", "start", "at_iterations"),
    [
        (100, 0, [100, 260, 350]),
        (100, 150, [260, 350]),
        # The trainer does not write a checkpoint of the same steps again.
        (360, 0, [360]),
        (None, 0, []),
    ],
)
def test_checkpoints_are_written_when_a_multiple_was_passed_and_once_at_the_end(every_steps, start, at_iterations):
    steps = [count for count in (60, 99, 100, 150, 199, 260, 350, 360) if count > start]
    callback = Checkpoint("d", every_steps)
    stand_in, _ = run(callback, start, *steps)
    assert [count for _, count, _ in stand_in.saved] == at_iterations
    callback.on_train_end()
    assert [count for _, count, _ in stand_in.saved] == [*at_iterations, 360]


def test_at_start_writes_a_checkpoint_after_the_folder_was_checked():
    stand_in, _ = run(Checkpoint("d", 100, keep=7, at_start=True), 5, 60, 110)
    assert stand_in.checked == [("d", 5)]
    assert stand_in.saved == [("d", 5, 7), ("d", 110, 7)]


def test_a_write_that_failed_is_tried_again_when_training_fails():
    callback = Checkpoint("d", 10)
    stand_in, _ = run(callback, 0)
    stand_in.env_steps.assign(10)
    stand_in.full = True
    with pytest.raises(OSError, match="full"):
        callback.on_epoch_end(0)
    stand_in.full = False
    callback.save_on_failure()
    assert stand_in.saved == [("d", 10, 2)]
    # The rollout failed, so there is none.
    assert stand_in.overwritten


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Checkpoint("d", 0), "every_steps must be at least 1, got 0"),
        (lambda: Checkpoint("d", 1, keep=0), "keep must be at least 1, got 0"),
        (lambda: Evaluate("Env", -5), "every_steps must be at least 1, got -5"),
        (lambda: Evaluate("Env", 1.5), "every_steps must be a whole number, got 1.5"),
        (lambda: Evaluate("Env", 9, episodes=2.0), "episodes must be a whole number, got 2.0"),
        (lambda: Evaluate("Env", 9, n_eval_episodes=3), "Evaluate takes no n_eval_episodes; the nearest is episodes"),
        (lambda: TensorBoard("logs", histogram_every=-1), "histogram_every must be zero or positive, got -1"),
        (lambda: TensorBoard("logs", video=EpisodeVideo("Env", 0)), "every_steps must be at least 1, got 0"),
    ],
)
def test_arguments_of_callbacks_are_checked_at_once(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_evaluations_take_all_keywords_of_the_agent():
    first, environment, *keywords = inspect.signature(tf_trpo.TRPO.evaluate).parameters
    assert (first, environment) == ("self", "environment")
    assert sorted(keywords) == sorted((*MAKING, *EVALUATING))
