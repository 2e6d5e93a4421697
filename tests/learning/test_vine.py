"""Policy steps with branches: samples compared with naive loops and exact advantages; steps, refusals, learning."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tests.agents import Drift
from tf_trpo import Experiment
from tf_trpo.environments import make_vector_environment
from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.vine import settled_vine
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import ConstrainedTrustRegion, TrustRegion, VanillaPolicyGradient
from tf_trpo.rollouts import LocalSource, VineSettings, make_actor
from tf_trpo.rollouts.noise import rollout_noise
from tf_trpo.theory import FiniteMDP, random_mdp

GAMMA = 0.5
SIZES = {"num_envs": 2, "num_steps": 24, "seed": 3, "verbose": 0}


class Pushed(Drift):
    action_space = gym.spaces.Box(-1, 3, (1,), np.float32)


SMALL = PolicySettings(hidden_sizes=(6,))


def make_agent(environment, optimizer=None, costs=(), policy=SMALL, **update):
    small = {"policy": policy, "value": ValueSettings(value_hidden_sizes=(6,))}
    agent = tf_trpo.TRPO.for_env(environment, **small, seed=1, costs=costs)
    update = {"gamma": GAMMA, "value_epochs": 2, "value_minibatch_size": 16} | update
    agent.compile(optimizer, update=UpdateSettings(**update), jit_compile=False)
    return agent


def collected(agent, environment, settings, *, num_envs=2, num_steps=24):
    """Collect a rollout with branches in new environments."""
    vine = settled_vine(settings, agent.policy, num_steps, 1)
    environments = make_vector_environment(environment, num_envs, costs=agent.costs)
    source = LocalSource(environments, make_actor(agent.policy, num_envs), seed=3, vine=vine)
    noise = rollout_noise(vine, agent.policy.action_distribution, num_steps, num_envs, 3, 0)
    return source.collect([weight.numpy() for weight in agent.policy.weights], *noise)


@pytest.mark.parametrize("environment", [Drift, Pushed])
def test_samples_equal_those_of_a_naive_loop(environment):
    agent = make_agent(environment, costs=("speed",), normalize_advantages=False, gae_lambda=0.9)
    rollout = collected(agent, environment, VineSettings(5, None if environment is Drift else 3, 4))
    plain, branches = rollout._replace(branches=()), rollout.branches
    learner, totals = agent.learner, np.array([1.0, 10.0])
    start = learner.state()
    batch, critics = learner.prepare(rollout, learner.first_carry(2), totals)[0][:2]
    scales = [float(scale(tf.constant(1.0))) for scale in (agent.return_scale, *agent.cost_return_scales)]
    value_functions = [agent.value_function, *agent.cost_value_functions]
    k_of, expected = branches.steps.shape[2], []
    for s, row in enumerate(branches.rows):
        for b in range(2):
            state = rollout.observations[row, b]
            q_values = np.zeros((2, k_of))
            for k in range(k_of):
                end = branches.observations[s, b, k][None].astype(np.float32)
                for c, numbers in enumerate((branches.rewards[s, b, k], branches.costs[s, b, k, :, 0])):
                    steps = branches.steps[s, b, k]
                    total = sum(GAMMA**step * numbers[step] * scales[c] for step in range(steps))
                    bootstrap = 0.0 if branches.terminated[s, b, k] else float(value_functions[c](end)[0])
                    q_values[c, k] = total + GAMMA**steps * bootstrap
            if environment is Drift:
                probabilities = agent.policy(state[None]).probs_parameter().numpy()[0]
                baselines = np.repeat(q_values @ probabilities[:, None], k_of, axis=1)
            else:
                probabilities = np.full(k_of, 1 / k_of)
                baselines = (q_values.sum(axis=1, keepdims=True) - q_values) / (k_of - 1)
            for k in range(k_of):
                action = k if environment is Drift else branches.actions[s, b, k]
                weight = rollout.valid[row, b] * probabilities[k] / rollout.valid[branches.rows].sum()
                expected.append((state, action, q_values[:, k] - baselines[:, k], weight))
    states, actions, advantages, weights = map(np.array, zip(*expected, strict=True))
    np.testing.assert_array_equal(batch.observations, states)
    np.testing.assert_array_equal(batch.actions, actions)
    np.testing.assert_allclose(batch.weights, weights, atol=1e-7)
    counts = weights > 0
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(batch.advantages[counts], advantages[counts, 0], **close)
    np.testing.assert_allclose(batch.costs.advantages[counts][:, 0], advantages[counts, 1] / scales[1], **close)
    assert batch.weights.numpy().sum() == pytest.approx(1.0)
    # The samples of the value functions are those of the rollout without branches.
    learner.restore(start)
    without = learner.prepare(plain, learner.first_carry(2), totals)[0]
    for one, other in zip(critics, without.values, strict=True):
        for name in ("observations", "values", "targets", "weights"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(critics[0].weights, without.batch.weights)


class Tabular(gym.Env):
    """A finite MDP as an environment without an end of episodes."""

    mdp: FiniteMDP = random_mdp(3, 2, GAMMA, np.random.default_rng(0))
    observation_space = gym.spaces.Discrete(3)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = int(self.np_random.choice(3, p=self.mdp.initial))
        return self.state, {}

    def step(self, action):
        reward = self.mdp.rewards[self.state, action]
        self.state = int(self.np_random.choice(3, p=self.mdp.transitions[self.state, action]))
        return self.state, float(reward), False, False, {}


@pytest.mark.parametrize("actions", [None, 3])
def test_advantages_are_exact_in_expectation(actions):
    agent = make_agent(Tabular, normalize_rewards=False, normalize_advantages=False)
    probabilities = agent.policy(np.arange(3)).probs_parameter().numpy()
    exact = Tabular.mdp.evaluate(probabilities / probabilities.sum(axis=1, keepdims=True)).advantages
    # The bootstrap by the value function is discounted by 0.5^10.
    rollout = collected(agent, Tabular, VineSettings(500, actions, 10), num_envs=1, num_steps=500)
    batch = agent.learner.prepare(rollout, agent.learner.first_carry(1))[0].batch
    states, taken, advantages = (
        np.asarray(part) for part in (np.ravel(batch.observations), batch.actions, batch.advantages)
    )
    for state in range(3):
        for action in range(2):
            found = advantages[(states == state) & (taken == action)]
            error = found.std() / np.sqrt(len(found))
            assert len(found) > 30
            assert abs(found.mean() - exact[state, action]) < 4.5 * error + 2e-3
            assert error < 0.1


class Keep(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.rollouts = []

    def on_epoch_end(self, epoch, logs=None):
        self.rollouts.append(self.params["trainer"].rollout)


def test_a_fit_counts_the_steps_of_branches_and_traces_once(make_agent):
    keep, agent = Keep(), make_agent(Pushed, VanillaPolicyGradient("sgd"), value_function_first=True)
    weights = [weight.numpy() for weight in agent.policy.weights]
    history = agent.fit(Pushed, 200, vine=VineSettings(3, 2, 4), callbacks=keep, **SIZES).history
    assert len(keep.rollouts) > 2
    steps = [int(rollout.valid.sum() + rollout.branches.steps.sum()) for rollout in keep.rollouts]
    assert history["time/total_timesteps"] == list(np.cumsum(steps))
    assert history["rollout/branch_steps"] == [int(rollout.branches.steps.sum()) for rollout in keep.rollouts]
    assert int(agent.env_steps) == sum(steps)
    assert len(agent.learner._programs) == 1
    # With the same weights, the first rollout equals the one without branches.
    source = LocalSource(make_vector_environment(Pushed, 2), make_actor(agent.policy, 2), seed=3)
    plain = source.collect(weights, *rollout_noise(None, agent.policy.action_distribution, 24, 2, 3, 0))
    for name in ("observations", "actions", "rewards", "terminated", "truncated", "valid"):
        np.testing.assert_array_equal(getattr(keep.rollouts[0], name), getattr(plain, name))


@pytest.mark.slow
def test_a_step_with_cost_limits_works_with_branches():
    policy = PolicySettings(hidden_sizes=(6,), ema_momentum=None)
    agent = make_agent(Drift, ConstrainedTrustRegion(cost_limits=(3.0,)), costs=("speed",), policy=policy)
    history = agent.fit(Drift, 400, vine=VineSettings(4, None, 3), **SIZES).history
    assert any(history["train/is_line_search_success"])
    assert "train/cost_change/speed" in history


def test_branches_are_refused_if_they_are_impossible(make_agent):
    agent, vine = make_agent(Drift), VineSettings(2)
    source = LocalSource(make_vector_environment(Drift, 2), make_actor(agent.policy, 2), seed=0)
    for environment, words, settings in (
        (Drift, "without the backend sync", {"backend": "async"}),
        (gym.vector.SyncVectorEnv([Drift, Drift]), "with a vector environment that is made already", {}),
        (make_vector_environment(Drift, 2), "with a vector environment that is made already", {}),
        (Drift, "with workers", {"workers": 1}),
        (source, "with a source of rollouts", {}),
    ):
        with pytest.raises(ValueError, match=f"vine_states must be 0 {words}"):
            agent.fit(environment, 100, vine=vine, **SIZES | settings)
    with pytest.raises(ValueError, match="vine_states must be at most the num_steps of a rollout, 24, got 25"):
        agent.fit(Drift, 100, vine=VineSettings(25), **SIZES)
    with pytest.raises(TypeError, match="vine must be VineSettings or None"):
        agent.fit(Drift, 100, vine=2, **SIZES)
    with pytest.raises(ValueError, match=r"LunarLander\.world cannot be copied"):
        make_agent("LunarLander-v3").fit("LunarLander-v3", 100, vine=vine, **SIZES)
    remembering = make_agent(Drift, policy={"memory": "gru", "memory_units": 2})
    with pytest.raises(ValueError, match="vine_states must be 0 for a policy with a memory"):
        remembering.fit(Drift, 100, vine=vine, **SIZES)


def test_an_experiment_refuses_impossible_settings_of_branches(make_agent):
    for settings, words in (
        ({"backend": "async"}, "vine_states must be 0 with the backend async"),
        ({"workers": 1}, "vine_states must be 0 with workers"),
        ({"memory": "gru"}, "vine_states must be 0 with a memory"),
        ({"num_steps": 4}, "vine_states must be at most the num_steps of a rollout, 4, got 5"),
    ):
        with pytest.raises(ValueError, match=words):
            Experiment().replace(vine_states=5, **settings)
    for name in ("vine_actions", "vine_steps"):
        with pytest.raises(ValueError, match=f"{name} must be None without vine_states, got 3"):
            Experiment().replace(**{name: 3})


def test_default_numbers_depend_on_the_actions():
    assert VineSettings(2).settled(18, 1) == (2, 18, 8, True)
    assert VineSettings(2).settled(19, 1) == VineSettings(2).settled(None, 1) == (2, 4, 8, False)
    assert VineSettings(2, 3, 5).settled(4, 1) == (2, 3, 5, False)


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "settings"), [("CartPole-v1", {}), ("Pendulum-v1", {"vine_actions": 3})])
def test_an_agent_learns_with_branches(environment, settings):
    goal, steps = {"CartPole-v1": (400, 60_000), "Pendulum-v1": (-400, 400_000)}[environment]
    agent = tf_trpo.TRPO.for_env(environment, seed=0)
    agent.compile(TrustRegion(max_kl=0.02), jit_compile=False)
    before = agent.evaluate(environment, 20)["mean_return"]
    agent.fit(environment, steps, num_envs=4, num_steps=256, vine=VineSettings(16, **settings), seed=0, verbose=0)
    after = agent.evaluate(environment, 20)["mean_return"]
    assert before < goal < after


def test_branches_of_a_rollout_have_a_limited_number_of_steps():
    """Nothing is allocated before."""
    agent = tf_trpo.TRPO.for_env("CartPole-v1", seed=0)
    pattern = r"vine_states times .* times num_envs must be at most 50000000, got 64000000"
    with pytest.raises(ValueError, match=pattern):
        agent.fit("CartPole-v1", 1_000, num_envs=4, num_steps=32, vine=VineSettings(8, vine_steps=1_000_000), verbose=0)
