"""When agents are evaluated and checkpoints written, by an agent and a trainer that only count."""

import pytest
import tensorflow as tf

from tf_trpo.callbacks import Checkpoint, Evaluate
from tf_trpo.callbacks.every_steps import EverySteps


class StandIn:
    """What callbacks need of an agent and a trainer; evaluations give the steps that were taken."""

    def __init__(self, steps=0):
        self.env_steps = tf.Variable(steps, dtype=tf.int64)
        self.evaluated, self.saved, self.checked = [], [], []
        self.full = False

    def evaluate(self, environment, **kwargs):
        self.evaluated.append((environment, kwargs))
        steps = float(self.env_steps.numpy())
        return {"mean_return": steps, "std_return": 0.0, "mean_length": -steps, "episodes": 1}

    def check_directory(self, directory):
        self.checked.append((str(directory), int(self.env_steps)))

    def save_checkpoint(self, directory, *, keep):
        if self.full:
            raise OSError("full")
        self.saved.append((str(directory), int(self.env_steps), keep))


def began(callback, steps=0):
    stand_in = StandIn(steps)
    callback.set_model(stand_in)
    callback.set_params({"trainer": stand_in})
    callback.on_train_begin()
    return stand_in


def run(callback, start, *step_counts):
    """The stand-in and the logs after iterations that ended at these steps."""
    stand_in, all_logs = began(callback, start), []
    for epoch, steps in enumerate(step_counts):
        stand_in.env_steps.assign(steps)
        all_logs.append({"figure": 1.0})
        callback.on_epoch_end(epoch, all_logs[-1])
    return stand_in, all_logs


def saved_at(callback, start, *step_counts, end=True):
    stand_in, _ = run(callback, start, *step_counts)
    if end:
        callback.on_train_end()
    return [steps for _, steps, _ in stand_in.saved]


@pytest.mark.parametrize("start", [0, 7, 100, 101])
def test_every_multiple_is_passed_once(start):
    every = EverySteps(10)
    every.start(start)
    reached = [total for total in range(start + 1, start + 41) if every.reached(total)]
    assert reached == [total for total in range(start + 1, start + 41) if total % 10 == 0]


def test_results_are_in_the_logs_of_the_iterations_with_an_evaluation_only():
    _, logs = run(Evaluate("Env", 100), 0, 60, 100, 199, 230, 320, 330)
    nothing = {"figure": 1.0}
    assert logs == [
        nothing if steps is None else nothing | {"eval/mean_reward": steps, "eval/mean_ep_length": -steps}
        for steps in (None, 100, None, 230, 320, None)
    ]


def test_a_resumed_training_is_evaluated_where_the_whole_one_would_have_been():
    assert not run(Evaluate("Env", 100), 1050, 1060, 1099)[0].evaluated
    assert len(run(Evaluate("Env", 100), 1099, 1101, 1199)[0].evaluated) == 1


def test_the_environment_and_the_arguments_are_passed_on():
    stand_in, _ = run(Evaluate("Env", 1, episodes=7, stochastic=True, seed=3), 0, 1)
    assert stand_in.evaluated == [("Env", {"episodes": 7, "stochastic": True, "seed": 3})]


@pytest.mark.parametrize(
    ("every_steps", "start", "at_iterations", "at_end"),
    [
        (100, 0, [100, 260, 350], [360]),
        (100, 150, [260, 350], [360]),
        # The trainer leaves a whole checkpoint of the same steps as it is.
        (360, 0, [360], [360]),
        (None, 0, [], [360]),
    ],
)
def test_checkpoints_are_written_when_a_multiple_was_passed_and_once_in_the_end(
    every_steps, start, at_iterations, at_end
):
    steps = [count for count in (60, 99, 100, 150, 199, 260, 350, 360) if count > start]
    assert saved_at(Checkpoint("d", every_steps), start, *steps, end=False) == at_iterations
    assert saved_at(Checkpoint("d", every_steps), start, *steps) == at_iterations + at_end


def test_the_start_is_written_if_it_is_asked_for_after_the_folder_was_checked():
    callback = Checkpoint("d", 100, keep=7, at_start=True)
    stand_in = began(callback, 5)
    assert stand_in.checked == [("d", 5)]
    assert stand_in.saved == [("d", 5, 7)]
    assert saved_at(callback, 7, 60, 110, end=False) == [7, 110]


def test_a_write_that_failed_is_tried_again_when_training_fails():
    callback = Checkpoint("d", 10)
    stand_in = began(callback)
    stand_in.env_steps.assign(10)
    stand_in.full = True
    with pytest.raises(OSError, match="full"):
        callback.on_epoch_end(0)
    stand_in.full = False
    callback.save_on_failure()
    assert stand_in.saved == [("d", 10, 2)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Checkpoint("d", 0),
        lambda: Checkpoint("d", -1),
        lambda: Checkpoint("d", 1, keep=0),
        lambda: Evaluate("Env", 0),
        lambda: Evaluate("Env", -5),
    ],
)
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="must be at least 1"):
        make()
