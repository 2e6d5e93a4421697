"""A fault injected at every point where a number can go bad: what it would have changed stays as it was."""

import logging
import math

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.callbacks import Checkpoint, Evaluate
from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.estimation import weighted_moments
from tf_trpo.models import encoder
from tf_trpo.models.settings import PolicySettings
from tf_trpo.optimizers import trust_region
from tf_trpo.optimizers.objective import Objective
from tf_trpo.training import TrainingFailedError, UpdateSettings, learner, prepared, programs
from tf_trpo.training.faults import require_finite

NAN = float("nan")


class Faulty(gym.Env):
    """Two numbers to see, one to choose; `fault(step)` may replace parts of what the step gives."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, fault=lambda step: {}):
        self.fault = fault
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.normal(size=2), {}

    def step(self, action):
        self.time += 1
        self.steps += 1
        observation = np.array([self.time / 10, float(action[0])])
        given = {"observation": observation, "reward": float(action[0]) + self.time % 3, **self.fault(self.steps)}
        return given["observation"], given["reward"], self.time == 7, False, {}


@pytest.fixture(name="everything")
def everything_fixture(variables_of):
    return variables_of


def assert_finite(agent):
    for values in agent.learner.state().values():
        assert all(np.isfinite(value).all() for value in values)


def fit(agent, environment, iterations=2, **kwargs):
    return agent.fit(lambda: environment, 32 * iterations, num_steps=32, verbose=0, **kwargs)


def from_step(first, **given):
    return lambda step: given if step >= first else {}


INVALID_STEPS = {
    "observation NaN": ({"observation": np.array([0.0, NAN])}, r"environment 0 gave an observation .* \(nan\)"),
    "observation infinite": ({"observation": np.array([-np.inf, 0.0])}, r"observation that is not finite \(-inf\)"),
    "observation beyond float32": (
        {"observation": np.array([0.0, 1e300])},
        r"observation that is not finite \(1e\+300\)",
    ),
    "reward NaN": ({"reward": NAN}, r"environment 0 gave a reward that is not finite \(nan\)"),
    "reward infinite": ({"reward": math.inf}, r"a reward that is not finite \(inf\)"),
    "reward beyond float32": ({"reward": -1e200}, r"a reward that is not finite \(-1e\+200\)"),
}


@pytest.fixture(scope="module")
def agent(make_agent):
    """One for all faults of environments: none of them may change it."""
    return make_agent(Faulty)


@pytest.mark.parametrize("name", INVALID_STEPS)
def test_nothing_is_learned_from_a_rollout_with_an_invalid_step(name, agent, caplog, everything):
    given, cause = INVALID_STEPS[name]
    before = everything(agent)
    with pytest.raises(
        TrainingFailedError, match=rf"^3 faults in a row, the last one: .*{cause}.*iteration \d+, after"
    ):
        fit(agent, Faulty(from_step(5, **given)), max_faults=3)
    for value, old in zip(everything(agent), before, strict=True):
        np.testing.assert_array_equal(value, old)
    assert "in row 4 (iteration 0, after 0 environment steps)" in caplog.records[0].getMessage()
    assert [record.levelno for record in caplog.records if record.name == "tf_trpo.training.faults"] == [
        logging.WARNING
    ] * 3


def test_a_value_of_a_wrong_type_is_not_tried_again(agent, everything):
    before = everything(agent)
    with pytest.raises(EnvironmentFailedError, match="0 gave a reward that is no number, but None, in row 4"):
        fit(agent, Faulty(from_step(5, reward=None)), max_faults=3)
    for value, old in zip(everything(agent), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_after_a_single_fault_training_goes_on_with_new_episodes(borrow_agent, caplog):
    agent = borrow_agent(Faulty)
    environment = Faulty(lambda step: {"reward": NAN} if step == 40 else {})
    history = fit(agent, environment, iterations=4).history
    assert history["train/faults"] == [0, 1, 1, 1, 1]
    # 28 steps in each rollout, the one with the fault not counted; the rest are resets.
    assert int(agent.env_steps.numpy()) == 5 * 28
    assert_finite(agent)
    assert "fault 1: environment 0 gave a reward that is not finite (nan), in row" in caplog.text
    lengths = np.array(history["rollout/ep_len_mean"])
    np.testing.assert_array_equal(lengths, np.full_like(lengths, 7.0))


def test_a_first_observation_that_is_not_finite_is_named(agent, monkeypatch):
    monkeypatch.setattr(Faulty, "reset", lambda self, **kwargs: (np.full(2, NAN), {}))
    with pytest.raises(TrainingFailedError, match=r"not finite \(nan\), when the rollout began"):
        fit(agent, Faulty(), max_faults=1)


def not_a_number_of(function, part=lambda result: result):
    """The function, with NaN in place of a part of what it gives."""

    def faulty(*args, **kwargs):
        return part(function(*args, **kwargs))

    return faulty


def nan_like(value):
    return tf.fill(tf.shape(value), tf.constant(NAN, value.dtype))


def bad_products(self, **kwargs):
    return nan_like


POLICY_FAULTS = {
    "gradient": (Objective, "gradient", lambda self: nan_like(self.theta), "the policy gradient is not finite"),
    "Fisher-vector product": (
        Objective,
        "fisher_vector_product",
        bad_products,
        "a Fisher-vector product is not finite",
    ),
    "KL": (
        Objective,
        "figures",
        not_a_number_of(Objective.figures, lambda figures: figures._replace(kl=nan_like(figures.kl))),
        "the surrogate advantage, the KL or the weights of the new policy are not finite",
    ),
    "surrogate": (
        Objective,
        "figures",
        not_a_number_of(Objective.figures, lambda figures: figures._replace(improvement=nan_like(figures.kl))),
        "the surrogate advantage, the KL or the weights of the new policy are not finite",
    ),
    "step": (
        trust_region,
        "step_length_for_kl",
        lambda direction, *_: tf.constant(np.inf, direction.dtype),
        "the step has no finite length",
    ),
}


def weights_of(*models):
    return [np.array(weight.numpy()) for model in models for weight in model.trainable_weights]


@pytest.mark.parametrize("name", POLICY_FAULTS)
def test_a_policy_step_that_is_not_finite_is_not_taken(name, make_agent, monkeypatch, tmp_path, everything):
    owner, attribute, faulty, cause = POLICY_FAULTS[name]
    monkeypatch.setattr(programs, "_kept", {})  # what is patched is traced, and not kept for others
    monkeypatch.setattr(owner, attribute, faulty)
    # The statistics of a sound rollout move nevertheless, and the first layer would take that in.
    agent = make_agent(Faulty, policy={"function_preserving": False})
    policy, value = weights_of(agent.policy), weights_of(agent.value_function)
    with pytest.raises(
        TrainingFailedError, match=rf"^2 faults in a row, the last one: {cause}.* \(iteration 1, after 28 "
    ):
        fit(agent, Faulty(), 9, max_faults=2, callbacks=Checkpoint(tmp_path, 10**6))
    for weight, old in zip(weights_of(agent.policy), policy, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert any(not np.array_equal(new, old) for new, old in zip(weights_of(agent.value_function), value, strict=True))
    assert_finite(agent)
    other = make_agent(Faulty, seed=1, policy={"function_preserving": False})
    other.load_checkpoint(tmp_path)
    for weight, kept in zip(everything(other), everything(agent), strict=True):
        np.testing.assert_array_equal(weight, kept)


@tf.custom_gradient
def no_gradient(features):
    return features, nan_like


class NoGradient(keras.layers.Layer):
    def call(self, inputs):
        return no_gradient(inputs)


def value_network_without_gradient():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "tanh"), NoGradient()])


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_a_value_regression_that_is_not_finite_is_taken_back(fault, make_agent, monkeypatch):
    agent = make_agent(Faulty)
    if fault == "loss":
        monkeypatch.setattr(programs, "_kept", {})
        monkeypatch.setattr(prepared, "lambda_returns", lambda advantages, values: tf.fill(advantages.shape, 1e30))
    else:
        policy = PolicySettings(hidden_sizes=(4,))
        agent = tf_trpo.TRPO.for_env(Faulty, policy=policy, value_network=value_network_without_gradient(), seed=0)
        agent.compile(update=UpdateSettings(value_epochs=1), jit_compile=False)
    policy, value = weights_of(agent.policy), weights_of(agent.value_function)
    moments = [np.array(variable.numpy()) for variable in agent.optimizer.variables]
    with pytest.raises(TrainingFailedError, match="the value loss, its gradient or the fitted weights are not finite"):
        fit(agent, Faulty(), 9, max_faults=2)
    for weight, old in zip(weights_of(agent.value_function), value, strict=True):
        np.testing.assert_array_equal(weight, old)
    for variable, old in zip(agent.optimizer.variables, moments, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)
    assert any(not np.array_equal(new, old) for new, old in zip(weights_of(agent.policy), policy, strict=True))
    assert_finite(agent)


def test_statistics_that_are_not_finite_are_left_out_and_counted(make_agent, monkeypatch):
    def not_finite(samples, weights):
        return tuple(nan_like(moment) for moment in weighted_moments(samples, weights))

    monkeypatch.setattr(programs, "_kept", {})
    for module in (learner, encoder):
        monkeypatch.setattr(module, "weighted_moments", not_finite)
    agent = make_agent(Faulty)
    cause = "^2 faults in a row, the last one: the moments of the observations or of the returns are not finite"
    with pytest.raises(TrainingFailedError, match=cause):
        fit(agent, Faulty(), 9, max_faults=2)
    assert_finite(agent)
    assert float(agent.policy.encoder.normalization[0].count.numpy()) == 0
    assert float(agent.return_scale.count.numpy()) == 0


def test_an_evaluation_with_a_number_that_is_not_finite_ends_the_run_which_is_saved(borrow_agent, tmp_path):
    agent = borrow_agent(Faulty)
    environment = Faulty()
    evaluation = Evaluate(lambda: Faulty(from_step(5, reward=NAN)), 40, episodes=2)
    with pytest.raises(
        EnvironmentFailedError, match=r"gave a reward that is not finite \(nan\), in row 4 of an evaluation$"
    ):
        fit(agent, environment, 9, callbacks=[evaluation, Checkpoint(tmp_path, 10**6)])
    borrow_agent(Faulty).load_checkpoint(tmp_path)


def test_a_number_of_any_float_type_is_looked_at():
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        require_finite({"agent": [tf.Variable([1.0, 2.0], dtype=dtype), tf.Variable([3])]})
        with pytest.raises(TrainingFailedError, match=r"^variable 0 of the agent is not finite"):
            require_finite({"agent": [tf.Variable([1.0, NAN], dtype=dtype)]})


def test_a_weight_that_is_not_finite_is_never_exported(make_agent, tmp_path):
    agent = make_agent(Faulty)
    weight = agent.policy.trainable_weights[0]
    weight.assign(weight * NAN)
    with pytest.raises(TrainingFailedError, match="is not finite"):
        agent.export(tmp_path / "model")
    assert not any(tmp_path.iterdir())


def raising(step):
    if step == 40:  # the 13th row of the second rollout: four rows of the first were no steps
        raise OverflowError("the simulator\nexploded")
    return {}


def test_an_environment_that_raises_is_named_and_the_run_is_saved(borrow_agent, tmp_path):
    agent = borrow_agent(Faulty)
    where = r"in row 12 of the rollout of iteration 1, after 28 steps$"
    message = f"^environment 0 raised OverflowError: the simulator exploded, {where}"
    with pytest.raises(EnvironmentFailedError, match=message) as failure:
        fit(agent, Faulty(raising), callbacks=Checkpoint(tmp_path, 10**6))
    assert isinstance(failure.value.__cause__.__cause__.__cause__, OverflowError)
    other = borrow_agent(Faulty)
    with pytest.warns(UserWarning, match="cannot be played again"):
        fit(other, Faulty(), 3, resume_from=tmp_path)
    assert int(other.iterations.numpy()) >= 3
    assert_finite(other)


def test_a_limit_of_faults_below_one_is_refused(agent):
    with pytest.raises(ValueError, match="max_faults must be at least 1, got 0"):
        fit(agent, Faulty(), max_faults=0)
