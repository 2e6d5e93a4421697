"""evaluate and predict: whole episodes, fairly counted, in the environment's own rewards."""

from concurrent.futures import ThreadPoolExecutor

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import tf_trpo
from tf_trpo.demonstrations import record
from tf_trpo.models.settings import PolicySettings
from tf_trpo.training.checks import in_this_thread


class Fixed(gym.Env):
    """Episodes of one length with one reward a step, whatever the action."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length, reward):
        self.length, self.reward = length, reward

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(2, np.float32), self.reward, False, self.time == self.length, {}


def vector(*environments):
    makers = [lambda environment=environment: environment for environment in environments]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)


@pytest.fixture(scope="module")
def agent(make_agent):
    return make_agent(lambda: Fixed(1, 0.0))


@pytest.fixture(scope="module")
def cartpole(make_agent):
    return make_agent("CartPole-v1")


@pytest.mark.parametrize(
    ("environments", "episodes", "returns", "lengths"),
    [
        # The first five that end anywhere would be four short ones and a long one, or all short.
        ([(2, 1.0), (50, 3.0)], 5, [2.0] * 3 + [150.0] * 2, [2] * 3 + [50] * 2),
        # Fewer episodes than environments use the first ones.
        ([(3, 1.0), (4, 1.0), (90, 1.0)], 2, [3.0, 4.0], [3, 4]),
        # Longer than a chunk of steps.
        ([(301, 0.5)], 3, [150.5], [301]),
    ],
)
def test_each_environment_gives_its_share_of_whole_episodes(agent, environments, episodes, returns, lengths):
    result = agent.evaluate(vector(*(Fixed(*environment) for environment in environments)), episodes=episodes)
    assert result == pytest.approx(
        {
            "mean_return": np.mean(returns),
            "std_return": np.std(returns),
            "mean_length": np.mean(lengths),
            "episodes": episodes,
        }
    )


def test_returns_are_the_environments_own_and_undiscounted(make_agent):
    agent = make_agent(lambda: Fixed(1, 0.0), gamma=0.5)
    agent.return_scale.variance.assign(100.0)
    assert agent.evaluate(lambda: Fixed(10, -7.0), episodes=4)["mean_return"] == pytest.approx(-70.0)


@pytest.mark.parametrize("stochastic", [False, True])
def test_evaluation_repeats_itself(cartpole, stochastic):
    results = [cartpole.evaluate("CartPole-v1", 10, stochastic=stochastic, seed=3) for _ in range(2)]
    assert results[0] == results[1]
    assert results[0]["std_return"] > 0


def test_evaluation_acts_by_the_present_weights(cartpole):
    before = cartpole.get_weights()
    try:
        # Always to the left: the pole falls within some ten steps.
        cartpole.policy.encoder.output_layer.bias.assign([100.0, -100.0])
        left = cartpole.evaluate("CartPole-v1", 10)
        assert 8 <= left["mean_length"] <= 11
        assert left["mean_return"] == left["mean_length"]
    finally:
        cartpole.set_weights(before)


def test_weights_that_a_fit_assigns_during_an_evaluation_stay(make_agent):
    """As another thread does."""
    agent = make_agent(lambda: Fixed(1, 0.0))
    bias, steps = agent.policy.encoder.output_layer.bias, []

    class Learning(Fixed):
        def step(self, action):
            steps.append(bias.assign_add([1.0, 0.0]))
            return super().step(action)

    assert agent.evaluate(lambda: Learning(5, 1.0), 1)["mean_length"] == 5
    assert bias.numpy().tolist() == [len(steps), 0.0]


@pytest.mark.parametrize(
    "use",
    [
        lambda agent, path: agent.export(path),
        lambda agent, path: agent.fit("CartPole-v1", 32, num_steps=32),
        lambda agent, path: agent.clone(record(lambda observation: 0, "CartPole-v1", 1)),
    ],
)
def test_two_threads_do_not_assign_the_weights_of_one_agent(use, cartpole, tmp_path):
    with in_this_thread(cartpole), in_this_thread(cartpole), ThreadPoolExecutor(1) as other:
        with pytest.raises(ValueError, match=r"^another thread fits, clones or exports this agent"):
            other.submit(use, cartpole, tmp_path).result()
        assert other.submit(cartpole.evaluate, "CartPole-v1", 1).result()["episodes"] == 1
    with ThreadPoolExecutor(1) as other:
        other.submit(cartpole.export, tmp_path).result()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"episodes": 2.0}, r"episodes must be a whole number, got 2.0 \(float\)"),
        ({"max_episode_steps": -3}, "max_episode_steps must be at least 1"),
        ({"num_envs": 2.0}, "num_envs must be a whole number"),
        ({"seed": -1}, "seed must be zero or positive"),
    ],
)
def test_numbers_of_an_evaluation_are_whole_and_in_range(cartpole, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        cartpole.evaluate("CartPole-v1", **arguments)


def acting_in(space, environment="CartPole-v1"):
    return lambda: gym.wrappers.TransformAction(gym.make(environment), lambda action: action, space)


@pytest.mark.parametrize("use", ["evaluate", "fit"])
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("Acrobot-v1", r"observes array of shape \(4,\), the environment gives array of shape \(6,\)"),
        (acting_in(gym.spaces.Discrete(5)), "does not fit Discrete"),
        (acting_in(gym.spaces.Box(0, 1, (1,))), "Categorical distribution does not fit Box"),
        (acting_in(gym.spaces.Discrete(2, start=1)), r"does not fit Discrete\(2, start=1\)"),
    ],
)
def test_an_environment_with_other_spaces_is_refused(cartpole, use, environment, message):
    with pytest.raises(ValueError, match=message):
        getattr(cartpole, use)(environment, 1)


def test_boxes_of_another_shape_are_refused(make_agent):
    with pytest.raises(ValueError, match=r"Gaussian distribution does not fit Box"):
        make_agent("Pendulum-v1").evaluate(acting_in(gym.spaces.Box(-2, 2, (1, 1)), "Pendulum-v1"), 1)


def test_predict_gives_the_actions_that_the_environment_takes():
    agent = tf_trpo.TRPO.for_env("Pendulum-v1", policy=PolicySettings(initial_std=5.0), seed=0)
    observations = np.random.default_rng(0).normal(size=(50, 3))
    mode, sampled = agent.predict(observations), agent.predict(observations, stochastic=True, seed=1)
    assert mode.shape == sampled.shape == (50, 1)
    np.testing.assert_allclose(mode, 2 * agent(observations.astype(np.float32)).mean(), rtol=1e-5, atol=1e-6)
    assert np.abs(sampled).max() == 2.0
    np.testing.assert_array_equal(sampled, agent.predict(observations, stochastic=True, seed=1))
    assert np.mean(sampled == agent.predict(observations, stochastic=True, seed=2)) < 0.9
    # Without a seed, the noise is other noise every time.
    assert np.mean(agent.predict(observations, stochastic=True) == agent.predict(observations, stochastic=True)) < 0.9


class TwoSwitches(Fixed):
    """Allows one choice of each of two actions, as sb3-contrib has it: a list with an array for each action."""

    action_space = gym.spaces.MultiDiscrete([2, 3])

    def action_masks(self):
        return [np.array([0, 1]), np.array([0, 0, 1])]


def test_predict_takes_masks_as_the_environment_gives_them(make_agent, agent):
    masked, observation = make_agent(lambda: TwoSwitches(3, 1.0)), np.zeros(2)
    masks = TwoSwitches(3, 1.0).action_masks()
    for mask in (masks, tuple(masks), np.concatenate(masks), np.concatenate(masks).tolist()):
        np.testing.assert_array_equal(masked.predict(observation, action_mask=mask, stochastic=True), [1, 2])
    entry = {"observation": observation, "action_mask": np.concatenate(masks)}
    np.testing.assert_array_equal(masked.predict(entry), [1, 2])
    rows = [[1, 0, 1, 0, 0], [0, 1, 0, 1, 0]]
    for batch in (rows, np.array(rows), [[row[:2], row[2:]] for row in rows], [(np.array(row),) for row in rows]):
        np.testing.assert_array_equal(masked.predict(np.zeros((2, 2)), action_mask=batch), [[0, 0], [1, 1]])
    one, two = np.zeros(2), np.zeros((2, 2))
    of_actions = [np.array([[1, 0], [0, 1]]), np.array([[1, 0, 0], [0, 1, 0]])]
    for refused, observations, mask, message in (
        (masked, one, None, "action_mask must be given"),
        (masked, one, [1, 0, 1], r"must be \[5\] for each observation, got masks of \[3\] numbers"),
        (masked, two, rows[:1], r"got masks of \[5\] numbers for 2 observations"),
        (masked, two, np.ravel(rows), r"got masks of \[1, 1, 1, 1, 1, 1, 1, 1, 1, 1\] numbers"),
        (masked, two, of_actions, r"got masks of \[4, 6\] numbers"),
        (agent, one, [1, 0], "masks no actions"),
    ):
        with pytest.raises(ValueError, match=message):
            refused.predict(observations, action_mask=mask)
