"""Agents whose weights and statistics all affect the outputs, and their exports."""

import functools
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

import tf_trpo
from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.models import Encoder, Policy, ValueFunction, mlp
from tf_trpo.models.making import make_policy, make_value_function
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.serving.endpoints import named_states
from tf_trpo.spaces import named

OBSERVATIONS = (3,)


def _with_weights(policy, value_function):
    agent = tf_trpo.TRPO(policy, value_function)
    rng = np.random.default_rng(0)
    for weight in agent.policy.weights + agent.value_function.weights + agent.return_scale.weights:
        values = rng.standard_normal(weight.shape)
        is_positive = weight.name in ("variance", "count", "scale", "limit")
        weight.assign(np.abs(values) + 0.5 if is_positive else values)
    return agent


def _agent(distribution):
    policy, value = (
        Encoder(OBSERVATIONS, outputs, network=mlp(OBSERVATIONS, [units]))
        for outputs, units in ((distribution.num_outputs, 6), (1, 5))
    )
    return _with_weights(Policy(policy, distribution), ValueFunction(value))


@pytest.fixture(scope="session")
def with_weights():
    """with_weights(policy, value function): an agent with them, whose weights and statistics all affect the outputs."""
    return _with_weights


@pytest.fixture(scope="session")
def make_agent():
    """make_agent(action distribution): an agent whose weights and statistics all affect the outputs."""
    return _agent


CASES = {
    "lake, doubles": (spaces.Discrete(16), spaces.Box(-0.1, 0.1, (2,), np.float64), {"state_dependent_std": True}),
    "tuple": (spaces.Tuple([spaces.Discrete(32), spaces.Discrete(11)]), spaces.MultiDiscrete([[2, 3], [4, 1]]), {}),
    "dict": (
        spaces.Dict(
            counts=spaces.Box(0, 9, (3,), np.int32),
            image=spaces.Box(0, 255, (6, 6, 1), np.uint8),
            room=spaces.MultiDiscrete([3, 2], start=[4, 0]),
            speed=spaces.Box(-1, 1, (3,), np.float64),
            switches=spaces.MultiBinary(2),
        ),
        spaces.Dict(
            gear=spaces.Discrete(3, start=1),
            wheel=spaces.Tuple([spaces.Box(-5, 5, (2,), np.float16), spaces.MultiBinary(3)]),
        ),
        {},
    ),
    "mask": (spaces.Dict(action_mask=spaces.MultiBinary(5), floor=spaces.Discrete(5)), spaces.Discrete(5, start=2), {}),
}


@pytest.fixture(scope="session", params=CASES)
def case_name(request):
    return request.param


@pytest.fixture(scope="session")
def case_of(tmp_path_factory):
    """case_of(name): an agent for spaces, 17 observations, the agent's most likely actions, and its saved model."""

    @functools.cache
    def make(name):
        observed, actions, more = CASES[name]
        settings = PolicySettings(hidden_sizes=(5,), **more)
        agent = _with_weights(
            make_policy(settings, observed, actions, seed=0),
            make_value_function(settings, ValueSettings(value_hidden_sizes=(5,)), observed, seed=0),
        )
        batch = batch_space(observed, 17)
        batch.seed(0)
        inputs = batch.sample()
        folder = tmp_path_factory.mktemp("case") / "model"
        assert agent.export(folder) == str(folder / "1")
        return types.SimpleNamespace(agent=agent, inputs=inputs, actions=agent.predict(inputs), folder=folder)

    return make


@pytest.fixture(scope="session")
def gaussian_agent():
    return _agent(Gaussian([-0.5, -np.inf], [0.5, 1.0]))


@pytest.fixture(scope="session")
def agents(gaussian_agent):
    return {"gaussian": gaussian_agent, "categorical": _agent(Categorical(4, 5))}


@pytest.fixture(scope="session")
def observations():
    """observations(count): raw observations [count, 3]."""
    return lambda count: 3 * np.random.default_rng(count).standard_normal((count, *OBSERVATIONS)).astype(np.float32)


@pytest.fixture
def expected():
    """expected(agent, observations): the right outputs of the deterministic endpoints, by name."""

    def outputs(agent, inputs):
        parameters = agent.policy.distribution_parameters(tf.nest.map_structure(tf.constant, inputs))
        found = {
            **named("actions", agent.predict(inputs)),
            # The agent learns values of rewards divided by the standard deviation of the return.
            "values": agent.value_function(inputs) * np.sqrt(agent.return_scale.variance),
            **agent.policy.action_distribution.named_parameters(parameters),
        }
        return {name: np.asarray(value) for name, value in found.items()}

    return outputs


EVALUATION = {"mean_return": 12.5, "std_return": 1.0, "mean_length": 7.0, "episodes": 20}


@pytest.fixture(scope="session")
def exported(agents, tmp_path_factory):
    """The version folders of both agents' models, which must not change; the Gaussian one has all metadata."""
    folder = tmp_path_factory.mktemp("models")
    agents["gaussian"].env_steps.assign(4321)
    known = {"environment": "Some-v3", "evaluation": EVALUATION, "warmup": True}
    return {
        "gaussian": Path(agents["gaussian"].export(folder / "Policy-v1", **known)),
        "categorical": Path(agents["categorical"].export(folder / "categorical")),
    }


@pytest.fixture(scope="session")
def model(exported):
    """The folder of the Gaussian agent's model, with one version."""
    return exported["gaussian"].parent


class SlowEndpoint:
    """Multiplies numbers by the factor of each output when it is released, and fails for negative numbers."""

    batched = True

    def __init__(self):
        self.inputs, self.factors = {"x": tf.TensorSpec((None,))}, {"y": 2}
        self.let_go, self.calls = threading.Event(), []

    def __call__(self, inputs):
        self.calls.append(inputs["x"].tolist())
        assert self.let_go.wait(30)
        if (inputs["x"] < 0).any():
            raise RuntimeError("a secret")
        return {name: factor * inputs["x"] for name, factor in self.factors.items()}


@pytest.fixture
def endpoint():
    endpoint = SlowEndpoint()
    yield endpoint
    endpoint.let_go.set()


MEMORIES = {
    "gru": (spaces.Box(-1, 1, (3,), np.float32), spaces.Box(-2, 2, (2,), np.float32)),
    "lstm": (
        spaces.Dict(card=spaces.Discrete(3), numbers=spaces.Box(-1, 1, (2,), np.float64)),
        spaces.Dict(choice=spaces.Discrete(4), force=spaces.Box(-5, 5, (2,), np.float32)),
    ),
}


@pytest.fixture(scope="session")
def memories(with_weights, tmp_path_factory):
    """For each kind of memory: an agent, the folder of its saved model, and rows(count), an episode's observations."""

    def make(kind):
        observed, actions = MEMORIES[kind]
        settings = PolicySettings(hidden_sizes=(5,), memory=kind, memory_units=4)
        agent = with_weights(
            make_policy(settings, observed, actions, seed=0),
            make_value_function(settings, ValueSettings((5,)), observed, seed=0),
        )
        folder = tmp_path_factory.mktemp("memory") / kind
        agent.export(folder, warmup=True)

        def rows(count, seed=0):
            space = batch_space(observed, count)
            space.seed(seed)
            return [space.sample() for _ in range(8)]

        return types.SimpleNamespace(kind=kind, agent=agent, folder=folder, rows=rows, action_space=actions)

    return {kind: make(kind) for kind in MEMORIES}


@pytest.fixture(scope="session")
def by_agent():
    """by_agent(agent, rows): the right outputs of each endpoint for each row of an episode, by the names of outputs."""
    return _by_agent


def _by_agent(agent, rows):
    """The right outputs for each row of an episode, by the names of outputs."""
    count = len(next(iter(named("observations", rows[0]).values())))
    state, policy_state = None, agent.policy.initial_states(count)
    value_state = agent.value_function.encoder.memory.initial(count)
    expected = []
    for row in rows:
        inputs = tf.nest.map_structure(tf.constant, row)
        actions, after = agent.predict(row, state)
        sampled, _ = agent.predict(row, state, stochastic=True, seed=7)
        parameters, policy_state = agent.policy.step(inputs, policy_state)
        values, value_state = agent.value_function.step(inputs, value_state)
        states = named_states("state", after)
        of_value = named_states("value_state", value_state)
        expected.append(
            {
                "act": named("actions", actions) | states,
                "act_stochastic": named("actions", sampled) | states,
                "value": {"values": values * np.sqrt(agent.return_scale.variance), **of_value},
                "distribution": agent.policy.action_distribution.named_parameters(parameters) | states,
            }
        )
        state = after
    return expected


@pytest.fixture(scope="session")
def until():
    """until(condition): wait until it holds, at most a minute."""

    def wait(condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    return wait
