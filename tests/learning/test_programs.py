"""Traced updates that agents share: bit for bit as each one's own, without a trace or memory for each agent."""

import gc
import logging
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.learning import programs
from tf_trpo.learning.learner import Learner
from tf_trpo.optimizers import Backtracking, NaturalDirection, TrustRegion, VanillaPolicyGradient


@pytest.fixture(scope="module")
def traces():
    """One entry for each trace of an update in this module, with no program there from before."""
    seen, update = [], Learner._update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "_kept", {})
        patch.setattr(Learner, "_update", lambda self, *given: seen.append(1) or update(self, *given))
        yield seen


@pytest.fixture
def made(make_agent):
    """made(seed): an agent whose update is soon traced."""
    return lambda seed=0: make_agent("CartPole-v1", VanillaPolicyGradient("sgd"), "sgd", seed=seed)


def fitted(agent, seed=0):
    agent.fit("CartPole-v1", 48, num_steps=32, seed=seed, verbose=0)
    return state_of(agent)


def state_of(agent):
    return [np.array(value) for values in agent.learner.state().values() for value in values]


def test_agents_of_equal_structure_share_a_trace_and_learn_as_alone(made, traces, assert_same_weights):
    one, other, alone = (made(seed) for seed in (0, 1, 0))
    alone.learner.structure = None
    first, second = fitted(one), fitted(other)
    assert len(traces) == 1
    assert_same_weights(first, fitted(alone))
    assert len(traces) == 2
    assert any(not np.array_equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))
    # The first one continues with its own variables.
    assert_same_weights(fitted(one, 1), fitted(alone, 1))
    assert_same_weights(second, state_of(other))


def test_a_program_is_shared_by_other_variables_and_not_by_other_types(traces):
    one, other = tf.Variable(1.0), tf.Variable(5.0)

    def added(variable, size):
        function = programs.program(lambda x: (x.shape[0] + one,), [tf.TensorSpec([size])], [variable], "added")
        return float(*function(tf.ones([size])))

    assert [added(one, 2), added(other, 2), added(one, 3)] == [3, 7, 4]


def test_figures_are_copied_at_once_and_exactly(monkeypatch):
    figures = {"count": np.int32(2**31 - 1), "yes": True, "small": np.float32(0.1), "costs": np.array([1e-300, np.nan])}
    figures |= {"none": None, "table": np.eye(2)}
    tensors = [tf.constant(each) for name, each in figures.items() if name != "none"]
    run = programs.program(
        lambda *given: (dict(zip(figures, [*given[:4], None, given[4]], strict=True)), given[0]),
        [tf.TensorSpec.from_tensor(tensor) for tensor in tensors],
        [],
    )
    copies, copy = [], type(tensors[0]).numpy
    monkeypatch.setattr(type(tensors[0]), "numpy", lambda self: copies.append(self) or copy(self))
    found, other = run(*tensors)
    assert len(copies) == 1
    assert found.pop("none") is figures.pop("none")
    for name, figure in figures.items():
        np.testing.assert_array_equal(found[name], np.float64(figure), strict=True)
    assert other.dtype == tf.int32


def test_agents_of_other_numbers_share_a_trace_and_learn_as_alone(make_agent, traces, assert_same_weights):
    search = Backtracking(backtrack_ratio=0.3)
    other = TrustRegion(0.4, direction=NaturalDirection(cg_damping=0.02, cg_tolerance=1e-3), search=search)
    numbers = {"gamma": 0.8, "gae_lambda": 0.7, "advantage_clip": 1.5}
    before = len(traces)
    plain = fitted(make_agent("CartPole-v1", advantage_clip=2.0))
    together, alone = (make_agent("CartPole-v1", other, **numbers) for _ in range(2))
    alone.learner.structure = None
    result = fitted(together)
    assert len(traces) == before + 1
    assert_same_weights(result, fitted(alone))
    assert len(traces) == before + 2
    assert any(not np.array_equal(one, other) for one, other in zip(result, plain, strict=True))


def test_what_differs_is_not_shared(make_agent):
    changed = make_agent("CartPole-v1")
    changed.policy.encoder.normalization[0].clip = 5.0
    changed.compile()
    agents = [
        changed,
        make_agent("CartPole-v1"),
        make_agent("CartPole-v1", TrustRegion(direction=NaturalDirection(cg_iterations=9))),
        make_agent("CartPole-v1", None, "sgd"),
        make_agent("CartPole-v1", gamma=1.0),
        make_agent("CartPole-v1", normalize_rewards=False),
        make_agent("CartPole-v1", policy={"activation": "relu"}),
        make_agent("Acrobot-v1"),
    ]
    assert len({agent.learner.structure for agent in agents}) == len(agents)
    assert agents[1].learner.structure == make_agent("CartPole-v1", seed=9).learner.structure


@keras.saving.register_keras_serializable(package="tests")
class Own(keras.layers.Dense):
    """A layer whose config need not tell all."""


def test_nothing_is_shared_that_may_hide_something(make_agent):
    def with_network(layer):
        network = keras.Sequential([keras.Input((4,)), layer])
        return tf_trpo.TRPO.for_env("CartPole-v1", network=network)

    assert make_agent("CartPole-v1").learner.structure is not None
    assert with_network(keras.layers.Dense(3)).learner.structure is not None
    assert with_network(Own(3)).learner.structure is None
    assert with_network(keras.layers.Dense(3, activation=lambda x: x)).learner.structure is None
    patched = make_agent("CartPole-v1")
    patched.policy.encoder.centred = lambda observations: observations
    patched.compile()
    assert patched.learner.structure is None


def resident():
    """Megabytes of this process that are in memory."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def test_agents_fits_and_evaluations_cost_no_memory_and_no_warning(made, traces, caplog):
    caplog.set_level(logging.WARNING, "tensorflow")

    def again(count):
        for _ in range(count):
            agent = made()
            fitted(agent)
            agent.evaluate("CartPole-v1", 1)
            del agent
            gc.collect()
        # What XLA still compiles takes memory that it gives back.
        for thread in threading.enumerate():
            if thread.name == "compilation":
                thread.join()
        return resident()

    # What other tests have left is not to be searched for garbage each time.
    gc.freeze()
    try:
        before, traced = again(2), len(traces)
        assert again(3) - before < 3 * 2
    finally:
        gc.unfreeze()
    assert len(traces) == traced
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]
    assert tf.executing_eagerly()
