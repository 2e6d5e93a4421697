"""The schedule of a standard deviation: where it is when, and that a resumed run follows the same."""

import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.callbacks import AnnealedStd, Checkpoint
from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.models import Encoder, Policy


class StandIn:
    def __init__(self, policy=None, steps=0):
        self.env_steps = tf.Variable(steps, dtype=tf.int64)
        self.policy = gaussian() if policy is None else policy
        self.policy_average = None


def gaussian(**kwargs):
    kwargs = {"learned_std": False, "initial_std": 2.0} | kwargs
    distribution = Gaussian([-1.0] * 2, [1.0] * 2, **kwargs)
    return Policy(Encoder((3,), distribution.num_outputs), distribution)


def stds(callback, model, *step_counts):
    callback.set_model(model)
    callback.on_train_begin()
    all_stds = [np.exp(model.policy.action_distribution.log_std.numpy())]
    for steps in step_counts:
        model.env_steps.assign(steps)
        callback.on_epoch_end(0)
        all_stds.append(np.exp(model.policy.action_distribution.log_std.numpy()))
    return np.array(all_stds)


def test_it_goes_by_equal_ratios_from_the_initial_to_the_final_value_and_stays():
    reached = stds(AnnealedStd(0.125, 1000), StandIn(), 250, 500, 999, 1000, 5000)
    expected = [2.0, 1.0, 0.5, 2.0 * 0.0625**0.999, 0.125, 0.125]
    np.testing.assert_allclose(reached, np.stack([expected, expected], axis=1), rtol=1e-6)


def test_it_begins_where_the_steps_are():
    np.testing.assert_allclose(stds(AnnealedStd(0.125, 1000), StandIn(steps=500)), 0.5, rtol=1e-6)


def test_it_may_grow():
    np.testing.assert_allclose(stds(AnnealedStd(8.0, 10), StandIn(), 5)[-1], 4.0, rtol=1e-6)


@pytest.mark.parametrize(
    "policy",
    [
        gaussian(learned_std=True),
        gaussian(learned_std=True, state_dependent_std=True),
        Policy(Encoder((3,), 2), Categorical(2)),
    ],
    ids=["learned", "state-dependent", "categorical"],
)
def test_only_one_that_nothing_else_moves_is_annealed(policy):
    callback = AnnealedStd(0.1, 10)
    callback.set_model(StandIn(policy))
    with pytest.raises(ValueError, match="learned_std=False"):
        callback.on_train_begin()


@pytest.mark.parametrize("final_std", [0.0, -1.0, float("nan")])
def test_a_standard_deviation_that_is_none_is_refused(final_std):
    with pytest.raises(ValueError, match="final_std must be positive"):
        AnnealedStd(final_std, 10)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 1"):
        AnnealedStd(0.1, 0)


def fit(steps, *callbacks, resume_from=None):
    agent = tf_trpo.TRPO.for_env("Pendulum-v1", hidden_sizes=(4,), value_hidden_sizes=(4,), learned_std=False, seed=0)
    agent.compile(value_epochs=1, jit_compile=False)
    all_callbacks = [AnnealedStd(0.1, 200), *callbacks]
    logs = agent.fit(
        "Pendulum-v1", steps, num_steps=40, seed=3, verbose=0, callbacks=all_callbacks, resume_from=resume_from
    )
    return agent, logs.history["train/std"]


def test_actions_are_sampled_by_it_and_a_resumed_fit_follows_the_same(tmp_path):
    agent, reported = fit(160)
    np.testing.assert_allclose(reported, 0.1 ** np.array([0.0, 0.2, 0.4, 0.6]), rtol=1e-5)
    fit(80, Checkpoint(tmp_path, 40))
    resumed, _ = fit(160, resume_from=tmp_path)
    for weight, other in zip(resumed.get_weights(), agent.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
