"""fit: one iteration after the other, reproducible, within the trust region, counted and reported."""

import keras
import numpy as np
import pytest

import tf_trpo
from tf_trpo.estimation import LowerBound
from tf_trpo.optimizers import Outcome

ITERATIONS, NUM_ENVS, NUM_STEPS = 6, 2, 32


@pytest.fixture(scope="module")
def discrete(make_agent):
    agent = make_agent("CartPole-v1")
    return agent, fit(agent)


@pytest.fixture(scope="module")
def continuous(make_agent):
    agent = make_agent("Pendulum-v1")
    return agent, fit(agent, environment="Pendulum-v1")


@pytest.fixture(params=["discrete", "continuous"])
def trained(request):
    return request.getfixturevalue(request.param)


def fit(agent, iterations=ITERATIONS, *, environment="CartPole-v1", seed=0, **kwargs):
    steps = iterations * NUM_ENVS * NUM_STEPS
    # Rows after an episode's end are no steps: a little less makes it as many iterations as asked for.
    sizes = {"num_envs": NUM_ENVS, "num_steps": NUM_STEPS}
    return agent.fit(environment, steps - 20 * iterations, **sizes, seed=seed, verbose=0, **kwargs).history


def test_the_kl_of_every_iteration_is_within_max_kl(trained):
    agent, history = trained
    limit = 0.01 * agent.policy.action_distribution.dimensions
    assert max(history["train/kl_divergence_loss"]) <= limit
    assert np.mean(np.asarray(history["train/kl_divergence_loss"]) > 0.3 * limit) > 0.5


def test_history_has_the_names_of_stable_baselines3_and_a_number_for_each_iteration(trained):
    agent, history = trained
    names = {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "time/fps",
        "time/iterations",
        "time/time_elapsed",
        "time/total_timesteps",
        "train/explained_variance",
        "train/learning_rate",
        "train/value_loss",
        "train/policy_objective",
        "train/kl_divergence_loss",
        "train/is_line_search_success",
        "train/normalization_kl",
        "train/faults",
        "train/statistics_are_finite",
    }
    renamed = {"accepted", "surrogate", "kl", "penalty_coefficient"}
    renamed |= {
        "restores",
        "anchor_kl",
        "cost_changes",
        "cost_margins",
        "multipliers",
        "entropy_bonus",
        "demonstration_bonus",
    }
    names |= {f"train/{field}" for field in Outcome._fields if field not in renamed}
    names |= {f"bound/{field}" for field in LowerBound._fields}
    if isinstance(agent.policy.action_distribution, tf_trpo.distributions.Gaussian):
        names.add("train/std")
    if agent.policy.encoder.spec.shape == (3,):
        # No episode of a pendulum ends so soon, and a figure that does not exist is left out.
        names -= {"rollout/ep_rew_mean", "rollout/ep_len_mean"}
    assert set(history) == names
    for name, values in history.items():
        assert len(values) == agent.iterations.numpy(), name
        assert np.isfinite(values[1:] if name.startswith("rollout/") else values).all(), name
        assert all(isinstance(value, int | float) for value in values), name


def test_steps_add_up(trained):
    agent, history = trained
    totals = np.array(history["time/total_timesteps"])
    assert totals[-1] == agent.env_steps.numpy()
    assert history["time/iterations"] == list(range(1, len(totals) + 1))
    assert np.all(np.diff(totals, prepend=0) <= NUM_ENVS * NUM_STEPS)
    np.testing.assert_array_less(0, history["time/fps"])


def test_steps_episodes_and_statistics_are_those_of_the_environments(make_agent, scripted):
    agent, sizes = make_agent(scripted, gamma=0.5), {"num_envs": 2, "num_steps": 16, "verbose": 0}
    scripted.made.clear()
    history = agent.fit(scripted, 60, **sizes).history
    taken = sum(len(environment.acted_on) for environment in scripted.made)
    assert agent.env_steps.numpy() == taken
    # Rollouts of 32 rows would be enough for 60 steps in two iterations, were every row a step.
    assert history["time/iterations"] == [1, 2, 3]
    assert taken < 96
    finished = np.concatenate([environment.finished for environment in scripted.made])
    assert len(finished) >= 10
    assert history["rollout/ep_rew_mean"][-1] == pytest.approx(finished[:, 0].mean(), rel=1e-6)
    assert history["rollout/ep_len_mean"][-1] == pytest.approx(finished[:, 1].mean())
    # An environment that starts again keeps no episode of the fit before.
    agent.fit(scripted, 20, **sizes)
    seen = np.concatenate([environment.acted_on for environment in scripted.made if environment.acted_on])
    assert len(seen) == agent.env_steps.numpy()
    for model in (agent.policy, agent.value_function):
        [normalization] = model.encoder.normalization
        np.testing.assert_allclose(normalization.mean, seen.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(normalization.variance, seen.var(axis=0), rtol=1e-3)
        assert normalization.count.numpy() == len(seen)


def test_same_seeds_give_the_same_bits(make_agent, discrete, assert_same_weights):
    agent, history = discrete
    twin = make_agent("CartPole-v1")
    again = fit(twin)
    assert_same_weights(twin.get_weights(), agent.get_weights())
    assert again["train/value_loss"] == history["train/value_loss"]
    assert again["rollout/ep_rew_mean"] == history["rollout/ep_rew_mean"]


def test_the_seed_of_the_agent_is_that_of_its_initial_weights(make_agent):
    start, again, other = (make_agent("CartPole-v1", seed=seed) for seed in (0, 0, 1))
    for name in ("policy", "value_function"):
        kernel, same, another = (
            getattr(agent, name).encoder.network.layers[0].kernel.numpy() for agent in (start, again, other)
        )
        np.testing.assert_array_equal(kernel, same)
        assert not np.any(kernel == another)


def test_the_seed_of_for_env_is_that_of_fit(borrow_agent, assert_same_weights):
    """An agent whose seed is not known has 0."""
    agents = {(own, given): borrow_agent("CartPole-v1") for own in (None, 0, 1) for given in (None, 0, 1)}
    for (own, given), agent in agents.items():
        agent.seed = own
        fit(agent, 1, seed=given)
    for (own, given), agent in agents.items():
        used = given if given is not None else own or 0
        assert_same_weights(agent.get_weights(), agents[None, used].get_weights())
    kernels = [agents[0, given].policy.encoder.output_layer.kernel.numpy() for given in (0, 1)]
    assert np.any(kernels[0] != kernels[1])
    assert tf_trpo.TRPO.for_env("CartPole-v1", seed=4).seed == 4


def test_no_two_iterations_or_runs_share_their_random_numbers(discrete, monkeypatch):
    agent, _ = discrete
    draw, update, seen = agent.policy.action_distribution.noise, agent.learner.update, []

    def noise(shape, seed):
        if list(shape) == [NUM_STEPS, NUM_ENVS]:
            seen.append(tuple(seed.numpy()))
        return draw(shape, seed)

    def learn(rollout, carry, orders, progress):
        seen.append(tuple(orders.ravel()))
        return update(rollout, carry, orders, progress)

    monkeypatch.setattr(agent.policy.action_distribution, "noise", noise)
    monkeypatch.setattr(agent.learner, "update", learn)
    first = int(agent.iterations.numpy())
    for seed, start in [(0, first), (0, first + 2), (1, first)]:
        agent.iterations.assign(start)
        fit(agent, 2, seed=seed)
    assert len(seen) == len(set(seen)) == 3 * 2 * 2


def test_fit_acts_by_weights_that_a_callback_sets(borrow_agent, assert_same_weights):
    """A callback may restore a backup when training begins: the first rollout must be its policy's."""
    unchanged, changed, restored = (borrow_agent("CartPole-v1") for _ in range(3))

    def change(agent):
        kernel = agent.policy.encoder.output_layer.kernel
        kernel.assign(1000 * np.random.default_rng(0).normal(size=kernel.shape))

    change(changed)
    expected = fit(changed, 1)
    history = fit(restored, 1, callbacks=[keras.callbacks.LambdaCallback(on_train_begin=lambda _: change(restored))])
    assert expected["rollout/ep_len_mean"] != fit(unchanged, 1)["rollout/ep_len_mean"]
    assert history["rollout/ep_len_mean"] == expected["rollout/ep_len_mean"]
    assert_same_weights(restored.get_weights(), changed.get_weights())


@pytest.mark.parametrize("arguments", [{"total_steps": 0}, {"num_steps": 0}, {"num_envs": 0}, {"schedule_steps": 0}])
def test_settings_of_fit_out_of_range_are_refused(discrete, arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}.* must be at least 1"):
        discrete[0].fit("CartPole-v1", **{"total_steps": 10, "verbose": 0} | arguments)
