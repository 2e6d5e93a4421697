"""Agents by other algorithms: the policy optimizer and its state are saved with the agent."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.optimizers import KLPenalty, NaturalPolicyGradient, PolicyOptimizer, TrustRegion, VanillaPolicyGradient


@keras.saving.register_keras_serializable(package="tests")
class Counting(PolicyOptimizer):
    """Moves nothing, and counts its steps in a variable of its own."""

    def make_state(self, policy):
        self.steps = tf.Variable([0.0, float(len(policy.trainable_variables))])

    @property
    def variables(self):
        return [self.steps]

    def propose(self, objective):
        self.steps.assign_add([1.0, 0.0])
        return TrustRegion(1e-12, max_backtracks=0).propose(objective)

    def get_config(self):
        return {}


OPTIMIZERS = {
    "trust region": TrustRegion,
    "natural policy gradient": lambda: NaturalPolicyGradient(0.1),
    "vanilla policy gradient by Adam": lambda: VanillaPolicyGradient(keras.optimizers.Adam(0.01)),
    "vanilla policy gradient with momentum": lambda: VanillaPolicyGradient(keras.optimizers.SGD(0.01, momentum=0.9)),
    "KL penalty": lambda: KLPenalty(penalty_coefficient=100.0),
    "KL penalty by first-order steps": lambda: KLPenalty(penalty_coefficient=100.0, penalty_solver="first-order"),
    "trust region that adapts": lambda: TrustRegion(0.001, radius="adaptive"),
    "trust region by a schedule": lambda: TrustRegion(keras.optimizers.schedules.PolynomialDecay(0.02, 5, 0.001)),
    "one of a user": Counting,
}


def fit(agent):
    return agent.fit("CartPole-v1", 64, num_envs=2, num_steps=16, verbose=0).history


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loaded_agent_learns_on_as_if_nothing_had_happened(name, make_agent, assert_same_weights, tmp_path):
    agent = make_agent("CartPole-v1", policy_optimizer=OPTIMIZERS[name]())
    fit(agent)
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    assert type(loaded.policy_optimizer) is type(agent.policy_optimizer)
    state = [[variable.numpy() for variable in one.policy_optimizer.variables] for one in (loaded, agent)]
    assert_same_weights(*state)
    histories = [fit(one) for one in (loaded, agent)]
    assert histories[0]["train/entropy"] == histories[1]["train/entropy"]
    assert_same_weights(loaded.get_weights(), agent.get_weights())


@pytest.mark.parametrize("name", ["KL penalty", "trust region that adapts"])
def test_an_adapted_number_is_saved_as_it_became(name, make_agent, tmp_path):
    agent = make_agent("CartPole-v1", policy_optimizer=OPTIMIZERS[name]())
    before = float(agent.policy_optimizer.variables[0])
    fit(agent)
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    adapted = [float(one.policy_optimizer.variables[0]) for one in (agent, loaded)]
    assert adapted[0] == adapted[1] != before


def test_weights_alone_hold_the_state_too(make_agent, tmp_path):
    agent, other = (make_agent("CartPole-v1", policy_optimizer=Counting(), seed=seed) for seed in (0, 1))
    fit(agent)
    agent.save_weights(tmp_path / "agent.weights.h5")
    np.testing.assert_array_equal(other.policy_optimizer.steps, [0, 4])
    other.load_weights(tmp_path / "agent.weights.h5")
    np.testing.assert_array_equal(other.policy_optimizer.steps, agent.policy_optimizer.steps)
    assert agent.policy_optimizer.steps[0] >= 2


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        (VanillaPolicyGradient("adam"), TrustRegion()),
        (VanillaPolicyGradient("adam"), VanillaPolicyGradient("nadam")),
        # One number each, but not of the same kind.
        (TrustRegion(radius="adaptive"), KLPenalty()),
        (TrustRegion(), KLPenalty()),
        (TrustRegion(radius="adaptive"), TrustRegion(keras.optimizers.schedules.PolynomialDecay(0.02, 5, 0.001))),
    ],
    ids=["none", "another Keras optimizer", "same shapes", "from none", "a radius, and a number of steps"],
)
def test_weights_go_without_their_state_into_an_agent_of_another_algorithm(
    saved, other, make_agent, assert_same_weights, tmp_path
):
    agent = make_agent("CartPole-v1", policy_optimizer=saved)
    fit(agent)
    agent.save_weights(tmp_path / "agent.weights.h5")
    loaded = make_agent("CartPole-v1", policy_optimizer=other, seed=1)
    before = [variable.numpy() for variable in other.variables]
    with pytest.warns(UserWarning, match="policy optimizer's state is not loaded"):
        loaded.load_weights(tmp_path / "agent.weights.h5")
    assert_same_weights(loaded.get_weights(), agent.get_weights())
    assert_same_weights([variable.numpy() for variable in other.variables], before)


def test_a_theory_of_another_discount_than_the_agents_is_refused(make_agent):
    make_agent("CartPole-v1", policy_optimizer=KLPenalty("theory", gamma=0.9), gamma=0.9)
    make_agent("CartPole-v1", policy_optimizer=KLPenalty("fixed", gamma=0.8), gamma=0.9)
    with pytest.raises(ValueError, match=r"gamma of the KLPenalty is 0.99, and that of the agent 0.9"):
        make_agent("CartPole-v1", policy_optimizer=KLPenalty("theory"), gamma=0.9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_figures_of_its_steps_are_in_the_history(name, make_agent):
    history = fit(make_agent("CartPole-v1", policy_optimizer=OPTIMIZERS[name]()))
    names = ("train/kl_divergence_loss", "train/entropy", "train/gradient_norm", "train/max_kl_over_states")
    assert all(np.isfinite(history[figure]).all() for figure in names)
    assert min(history["train/gradient_norm"]) > 0
