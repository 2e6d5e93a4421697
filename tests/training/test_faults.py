"""A fault injected at every point where a number can go bad: what it would have changed stays as it was."""

import functools
import logging
import math
import types

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.callbacks import Checkpoint, Evaluate
from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.estimation import lambda_returns, weighted_moments
from tf_trpo.learning import programs, signals
from tf_trpo.models import encoder
from tf_trpo.numerics import LineSearchStatus, step_length_for_kl
from tf_trpo.optimizers import constrained_direction
from tf_trpo.optimizers.objective import Objective
from tf_trpo.training import TrainingFailedError
from tf_trpo.training.checkpoint import read_checkpoint
from tf_trpo.training.faults import require_finite, update_faults

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


def assert_finite(agent):
    for values in agent.learner.state().values():
        assert all(np.isfinite(value).all() for value in values)


def fit(agent, environment, iterations=2, **kwargs):
    return agent.fit(lambda: environment, 32 * iterations, num_steps=32, verbose=0, **kwargs)


def from_step(first, **given):
    return lambda step: given if step >= first else {}


INVALID_STEPS = [
    ({"observation": np.array([0.0, NAN])}, r"environment 0 gave an observation that is not finite in float32 \(nan\)"),
    ({"observation": np.array([-np.inf, 0.0])}, r"an observation that is not finite in float32 \(-inf\)"),
    ({"observation": np.array([0.0, 1e300])}, r"an observation that is not finite in float32 \(1e\+300\)"),
    ({"reward": NAN}, r"environment 0 gave a reward that is not finite in float32 \(nan\)"),
    ({"reward": math.inf}, r"a reward that is not finite in float32 \(inf\)"),
    ({"reward": -1e200}, r"a reward that is not finite in float32 \(-1e\+200\)"),
]


@pytest.fixture(scope="module")
def agent(make_agent):
    """One for all faults of environments: none of them may change it."""
    return make_agent(Faulty)


@pytest.mark.parametrize(("given", "cause"), INVALID_STEPS, ids=str)
def test_nothing_is_learned_from_a_rollout_with_an_invalid_step(
    given, cause, agent, caplog, variables_of, assert_same_weights
):
    before = variables_of(agent)
    message = rf"^3 faults in a row, the last one: .*{cause}.*iteration \d+, after"
    with pytest.raises(TrainingFailedError, match=message):
        fit(agent, Faulty(from_step(5, **given)), max_faults=3)
    assert_same_weights(variables_of(agent), before)
    records = [record for record in caplog.records if record.name == "tf_trpo.training.faults"]
    assert [record.levelno for record in records] == [logging.WARNING] * 3
    assert "in row 4 (iteration 0, after 0 environment steps)" in records[0].getMessage()


def test_a_value_of_a_wrong_type_is_not_tried_again(agent, variables_of, assert_same_weights):
    before = variables_of(agent)
    with pytest.raises(EnvironmentFailedError, match="0 gave a reward that is not a number, but None, in row 4"):
        fit(agent, Faulty(from_step(5, reward=None)), max_faults=3)
    assert_same_weights(variables_of(agent), before)


def test_after_a_single_fault_training_goes_on_with_new_episodes(borrow_agent, caplog):
    agent = borrow_agent(Faulty)
    environment = Faulty(lambda step: {"reward": NAN} if step == 40 else {})
    history = fit(agent, environment, iterations=4).history
    assert history["train/faults"] == [0, 1, 1, 1, 1]
    # 28 steps in each rollout, the one with the fault not counted; the rest are resets.
    assert int(agent.env_steps.numpy()) == 5 * 28
    assert_finite(agent)
    assert "fault 1: environment 0 gave a reward that is not finite in float32 (nan), in row" in caplog.text
    assert set(history["rollout/ep_len_mean"]) == {7.0}


def test_a_first_observation_that_is_not_finite_is_named(agent, monkeypatch):
    monkeypatch.setattr(Faulty, "reset", lambda self, **kwargs: (np.full(2, NAN), {}))
    with pytest.raises(TrainingFailedError, match=r"not finite in float32 \(nan\), when the rollout began"):
        fit(agent, Faulty(), max_faults=1)


@functools.cache
def fault():
    """Which of `FAULTS` is there; one trace has them all."""
    return tf.Variable("none")


def bad(name, value, by=NAN):
    """A number that is not finite in place of a value, if that fault is there."""
    return tf.where(tf.equal(fault(), name), tf.constant(by, value.dtype), value)


def bad_moments(samples, weights):
    return tuple(bad("moments", moment) for moment in weighted_moments(samples, weights))


def bad_figures(self, theta, figures=Objective.figures):
    found = figures(self, theta)
    return found._replace(kl=bad("KL", found.kl), improvement=bad("surrogate", found.improvement))


def bad_products(self, product=Objective.fisher_vector_product, **kwargs):
    exact = product(self, **kwargs)
    return lambda vector: tf.where(tf.equal(fault(), "curvature"), -vector, bad("Fisher-vector product", exact(vector)))


def bad_steps(optimizer, gradients, variables, apply=keras.optimizers.Adam.apply):
    apply(optimizer, [bad("gradient of the value loss", gradient) for gradient in gradients], variables)


def bad_length(*given, **damping):
    return bad("step", step_length_for_kl(*given, **damping), math.inf)


PATCHES = [
    (Objective, "gradient", lambda self, gradient=Objective.gradient: bad("gradient", gradient(self))),
    (Objective, "fisher_vector_product", bad_products),
    (Objective, "figures", bad_figures),
    (constrained_direction, "step_length_for_kl", bad_length),
    (signals, "lambda_returns", lambda *given: bad("value loss", lambda_returns(*given), 1e30)),
    (keras.optimizers.Adam, "apply", bad_steps),
    (signals, "weighted_moments", bad_moments),
    (encoder, "weighted_moments", bad_moments),
    (programs, "_kept", {}),
]
SEARCHED = "the surrogate advantage, the KL or the weights of the new policy are not finite"
FITTED = "the value loss, its gradient or the fitted weights are not finite"
FAULTS = {
    "gradient": ("the policy gradient is not finite", "policy"),
    "Fisher-vector product": (
        "a Fisher-vector product, or the right-hand side of its linear system, is not finite",
        "policy",
    ),
    "curvature": ("there is no direction to step in: the curvature", "policy"),
    "KL": (SEARCHED, "policy"),
    "surrogate": (SEARCHED, "policy"),
    "step": ("the step has no finite length", "policy"),
    "value loss": (FITTED, "value function"),
    "gradient of the value loss": (FITTED, "value function"),
    "moments": ("the moments of the observations or of the returns are not finite", "statistics"),
}


@pytest.fixture(scope="module")
def agents(make_agent):
    """Two agents; the update of the first one has all faults.

    The statistics of a sound rollout move in spite of a fault, and the first layer would absorb the change.
    """
    agent, other = (make_agent(Faulty, seed=seed, policy={"function_preserving": False}) for seed in (0, 1))
    fault().assign("none")
    with pytest.MonkeyPatch.context() as patch:
        for place in PATCHES:
            patch.setattr(*place)
        agent.learner.trace(32, 1)
    return agent, other


def parts_of(agent):
    value_function = [*agent.value_function.trainable_weights, *agent.optimizer.variables]
    statistics = [agent.policy.encoder.normalization[0].count, agent.return_scale.count]
    parts = {"policy": agent.policy.trainable_weights, "value function": value_function, "statistics": statistics}
    return {part: [variable.numpy().tolist() for variable in variables] for part, variables in parts.items()}


@pytest.mark.parametrize("name", FAULTS)
def test_the_part_of_an_update_that_is_not_finite_is_left_out(
    name, agents, tmp_path, variables_of, assert_same_weights
):
    (agent, other), (cause, unchanged) = agents, FAULTS[name]
    agent.learner.restore(other.learner.state())
    agent.env_steps.assign(0)
    agent.iterations.assign(0)
    before = parts_of(agent)
    fault().assign(name)
    message = rf"^2 faults in a row, the last one: {cause}.* \(iteration 1, after 28 "
    with pytest.raises(TrainingFailedError, match=message):
        fit(agent, Faulty(), 9, max_faults=2, callbacks=Checkpoint(tmp_path, 10**6))
    assert [part for part, values in parts_of(agent).items() if values == before[part]] == [unchanged]
    assert_finite(agent)
    start = other.learner.state()
    other.load_checkpoint(tmp_path)
    assert_same_weights(variables_of(other), variables_of(agent))
    other.learner.restore(start)


SOUND = {"gradient_norm": 1.0, "line_search_status": 0, "accepted": True, "cg_status": 0, "cg_iterations": 5}
OUTCOMES = {
    "a sound step": ({}, ""),
    "a later product that is not finite, before which the iterate was good": ({"cg_status": 3}, ""),
    "the same with no step": ({"cg_status": 3, "accepted": False, "line_search_status": 2}, "a Fisher-vector product"),
    "no step, since none is longer than 0": (
        {"line_search_status": int(LineSearchStatus.NO_DIRECTION), "accepted": False},
        "the step has no finite length",
    ),
    "the same at an optimum with constraints": (
        {"line_search_status": int(LineSearchStatus.NO_DIRECTION), "accepted": False, "restores": False},
        "",
    ),
}


@pytest.mark.parametrize(("figures", "cause"), OUTCOMES.values(), ids=OUTCOMES)
def test_only_what_stopped_a_step_is_a_fault(figures, cause):
    outcome = types.SimpleNamespace(**{**SOUND, "restores": None, **figures})
    policy = types.SimpleNamespace(outcome=outcome, statistics_are_finite=True)
    found = update_faults(types.SimpleNamespace(policy=policy, value=types.SimpleNamespace(loss=1.0), costs=()))
    assert [fault[: len(cause)] for fault in found] == ([cause] if cause else [])


def test_a_resumed_run_continues_a_row_of_faults(agents, tmp_path):
    agent, other = agents
    agent.learner.restore(other.learner.state())
    agent.env_steps.assign(0)
    agent.iterations.assign(0)
    fault().assign("gradient")
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: setattr(agent, "stop_training", True))
    fit(agent, Faulty(), 9, max_faults=2, callbacks=[stop, Checkpoint(tmp_path, 1)])
    assert int(agent.iterations.numpy()) == 1
    with pytest.raises(TrainingFailedError, match=r"^2 faults in a row, .*\(iteration 1, after 28 "):
        fit(agent, Faulty(), 9, max_faults=2, resume_from=tmp_path)


def test_an_evaluation_with_a_number_that_is_not_finite_ends_the_run_which_is_saved(borrow_agent, tmp_path):
    agent = borrow_agent(Faulty)
    environment = Faulty()
    evaluation = Evaluate(lambda: Faulty(from_step(5, reward=NAN)), 40, episodes=2)
    with pytest.raises(
        EnvironmentFailedError,
        match=r"gave a reward that is not finite in float32 \(nan\), in row 4, in an evaluation$",
    ):
        fit(agent, environment, 9, callbacks=[evaluation, Checkpoint(tmp_path, 10**6)])
    borrow_agent(Faulty).load_checkpoint(tmp_path)


def test_a_number_of_any_float_type_is_looked_at():
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        require_finite({"agent": [tf.Variable([1.0, 2.0], dtype=dtype), tf.Variable([3])]})
        with pytest.raises(TrainingFailedError, match=r"^variable 0 of the agent is not finite"):
            require_finite({"agent": [tf.Variable([1.0, NAN], dtype=dtype)]})


def raising(step):
    if step == 40:  # the 13th row of the second rollout: four rows of the first were no steps
        raise OverflowError("the simulator\nexploded")
    return {}


def test_an_environment_that_raises_is_named_and_the_run_is_saved(borrow_agent, tmp_path, says):
    agent = borrow_agent(Faulty)
    where = r"in row 12, in the rollout of iteration 1, after 28 steps$"
    message = f"^environment 0 raised OverflowError: the simulator exploded, {where}"
    with pytest.raises(EnvironmentFailedError, match=message) as failure:
        fit(agent, Faulty(raising), callbacks=Checkpoint(tmp_path, 10**6))
    assert isinstance(failure.value.__cause__.__cause__.__cause__, OverflowError)
    other = borrow_agent(Faulty)
    with says("the environments begin new episodes"):
        fit(other, Faulty(), 3, resume_from=tmp_path)
    assert int(other.iterations.numpy()) >= 3
    assert_finite(other)


@pytest.mark.parametrize("every_steps", [1, 10**6])
def test_a_failure_is_saved_even_if_there_is_a_checkpoint_of_the_iteration(every_steps, borrow_agent, tmp_path):
    agent = borrow_agent(Faulty)
    with pytest.raises(EnvironmentFailedError, match="exploded"):
        fit(agent, Faulty(raising), callbacks=Checkpoint(tmp_path, every_steps))
    state = read_checkpoint(tmp_path)[1]
    assert state["env_steps"] == int(agent.env_steps)
    assert state["source"]["actions"] is None


def test_a_failure_outside_of_a_rollout_leaves_the_checkpoint_as_it_is(borrow_agent, tmp_path):
    def evaluate(epoch, logs):
        [path] = tmp_path.iterdir()
        written.append(path.stat().st_mtime_ns)
        raise EnvironmentFailedError("in an evaluation")

    written, failing = [], keras.callbacks.LambdaCallback(on_epoch_end=evaluate)
    with pytest.raises(EnvironmentFailedError, match="in an evaluation"):
        fit(borrow_agent(Faulty), Faulty(), callbacks=[Checkpoint(tmp_path, 1), failing])
    [path] = tmp_path.iterdir()
    assert written == [path.stat().st_mtime_ns]
    assert read_checkpoint(path)[1]["source"]["actions"] is not None


def test_a_limit_of_faults_below_one_is_refused(agent):
    with pytest.raises(ValueError, match="max_faults must be at least 1, got 0"):
        fit(agent, Faulty(), max_faults=0)
