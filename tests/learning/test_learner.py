"""The update, figure by figure, against loops over a rollout made by hand."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Categorical
from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.critic import Critic
from tf_trpo.learning.learner import Learner
from tf_trpo.models import Encoder, Policy, RunningReturnScale, ValueFunction, mlp
from tf_trpo.optimizers import Outcome, PolicyOptimizer
from tf_trpo.rollouts import Rollout
from tf_trpo.training.metrics import update_logs

T, B = 14, 3


@dataclasses.dataclass(frozen=True)
class Recorder(PolicyOptimizer):
    """Takes no step, and keeps the batch, and how many samples the policy's statistics had."""

    seen: list = dataclasses.field(default_factory=list)

    def step(self, policy, batch, state, *, progress, gamma, chunk_size=None, jit_compile=None):
        self.seen.append((batch, float(policy.encoder.normalization[0].count.numpy()), float(progress), gamma))
        figures = {"actual_improvement": 0.02, "predicted_improvement": 0.03, "kl": 0.01, "max_kl_over_states": 0.05}
        required = [name for name in Outcome._fields if name not in Outcome._field_defaults]
        figures = dict.fromkeys(required, 0.0) | figures
        return Outcome(**{name: tf.constant(figure, tf.float64) for name, figure in figures.items()})

    def propose(self, objective, state, progress):
        raise AssertionError


@pytest.fixture(autouse=True)
def eagerly():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class Update:
    def __init__(self, *, function_preserving=True, learning_rate=0.0, **settings):
        self.value_function = ValueFunction(
            Encoder((2,), 1, network=mlp((2,), (6,), seed=0), function_preserving=False, output_gain=1.0, seed=1)
        )
        self.return_scale = RunningReturnScale()
        self.recorder = Recorder()
        encoder = Encoder((2,), 3, network=mlp((2,), (4,), seed=0), function_preserving=function_preserving, seed=0)
        self.policy = Policy(encoder, Categorical(3))
        settings = UpdateSettings(**{"value_epochs": 1, "value_minibatch_size": 10 * T * B} | settings)
        # With a learning rate of 0, the loss of the regression is that of the values that went in.
        optimizer = keras.optimizers.SGD(learning_rate)
        optimizer.build(self.value_function.trainable_variables)
        critic = Critic(self.value_function, self.return_scale, optimizer)
        self.learner = Learner(self.policy, [critic], self.recorder, settings, jit_compile=False)
        self.carry = self.learner.first_carry(B)

    def __call__(self, rollout):
        """The figures by their names in the logs."""
        rollout = Rollout(*(tf.constant(part) for part in rollout))
        orders = self.learner.orders(T, B, np.random.default_rng(1))
        result, self.carry = self.learner.update(rollout, self.carry, orders, tf.constant(0.25, tf.float64))
        return update_logs(result)

    @property
    def batch(self):
        return self.recorder.seen[-1][0]


def make_rollout(seed, just_ended=(False,) * B):
    """Random numbers, with endings of both kinds; the row after an ending is no step, and holds garbage."""
    rng = np.random.default_rng(seed)
    observations = rng.normal(2.0, 3.0, size=(T + 1, B, 2)).astype(np.float32)
    terminated, truncated, valid = (np.zeros((T, B), bool) for _ in range(3))
    for column in range(B):
        ended = just_ended[column]
        for t in range(T):
            valid[t, column] = not ended
            ended = bool(valid[t, column] and rng.random() < 0.3)
            kind = terminated if rng.random() < 0.5 else truncated
            kind[t, column] = ended
    rewards = rng.normal(1.0, 5.0, size=(T, B)) * valid
    actions = rng.integers(0, 3, size=(T, B)).astype(np.int32)
    return Rollout(observations, actions, rewards, terminated, truncated, valid)


def ended(rollout):
    return rollout.terminated | rollout.truncated


def discounted_returns(rollouts, gamma):
    """Discounted reward since the start of the episode, for every valid step of consecutive rollouts."""
    returns = []
    for column in range(B):
        total = 0.0
        for rollout in rollouts:
            for t in range(T):
                if not rollout.valid[t, column]:
                    continue
                total = gamma * total + rollout.rewards[t, column]
                returns.append(total)
                if ended(rollout)[t, column]:
                    total = 0.0
    return np.array(returns)


def advantages_by_loop(rollout, rewards, values, gamma, gae_lambda):
    advantages = np.zeros((T, B))
    for column in range(B):
        for start in range(T):
            if not rollout.valid[start, column]:
                continue
            weight = 1.0
            for t in range(start, T):
                # An ending by time limit, and the rollout's own end, have a successor with a value.
                bootstrap = 0.0 if rollout.terminated[t, column] else gamma * values[t + 1, column]
                advantages[start, column] += weight * (rewards[t, column] + bootstrap - values[t, column])
                weight *= gamma * gae_lambda
                if ended(rollout)[t, column]:
                    break
    return advantages


def values_of(update, rollout):
    return update.value_function(rollout.observations.reshape(-1, 2)).numpy().reshape(T + 1, B).astype(np.float64)


@pytest.fixture
def rollout():
    made = make_rollout(0)
    # The cases that matter are all there: both endings, rows that are no steps, an episode that is cut off.
    assert made.terminated.any()
    assert made.truncated.any()
    assert (~made.valid).sum() >= 5
    assert not ended(made)[-1].all()
    return made


@pytest.mark.parametrize(("normalize_rewards", "normalize_advantages"), [(False, False), (True, True)])
def test_a_value_function_that_comes_first_gives_the_policy_its_advantages(
    rollout, normalize_rewards, normalize_advantages
):
    settings = {"normalize_advantages": normalize_advantages, "normalize_rewards": normalize_rewards}
    update = Update(value_function_first=True, learning_rate=0.1, gamma=0.9, gae_lambda=0.7, **settings)
    before = values_of(update, rollout)
    metrics = update(rollout)
    values = values_of(update, rollout)
    assert np.abs(values - before).mean() > 0.1
    unit = discounted_returns([rollout], 0.9).std() if normalize_rewards else 1.0
    rewards, valid = rollout.rewards / unit, rollout.valid
    expected = advantages_by_loop(rollout, rewards, values, 0.9, 0.7)[valid]
    if normalize_advantages:
        expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(update.batch.advantages.numpy().reshape(T, B)[valid], expected, rtol=1e-3, atol=1e-3)
    # The explained variance is that of the value function before the fit.
    targets = advantages_by_loop(rollout, rewards, before, 0.9, 0.7) + before[:-1]
    explained = 1 - (targets - before[:-1])[valid].var() / targets[valid].var()
    assert metrics["train/explained_variance"] == pytest.approx(explained, rel=1e-3)


def test_the_batch_is_the_rollout_row_by_row_with_no_weight_on_padding(rollout):
    update = Update()
    update(rollout)
    [(batch, _, progress, gamma)] = update.recorder.seen
    assert (progress, gamma) == (0.25, 0.99)
    np.testing.assert_array_equal(batch.observations.numpy().reshape(T, B, 2), rollout.observations[:-1])
    np.testing.assert_array_equal(batch.actions.numpy().reshape(T, B), rollout.actions)
    np.testing.assert_allclose(
        batch.weights.numpy().reshape(T, B), rollout.valid / np.count_nonzero(rollout.valid), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("gamma", "gae_lambda", "clip", "normalize_rewards", "normalize_advantages"),
    [
        (0.9, 0.7, None, True, True),
        (0.9, 0.8, 1.2, True, True),
        (0.9, 0.7, 1.2, False, False),
        (1.0, 1.0, None, True, False),
        (0.97, 0.0, None, False, True),
    ],
)
def test_the_advantages_and_their_bound_are_those_of_the_definition_in_the_units_of_the_environment(
    rollout, gamma, gae_lambda, clip, normalize_rewards, normalize_advantages
):
    update = Update(
        gamma=gamma,
        gae_lambda=gae_lambda,
        advantage_clip=clip,
        normalize_rewards=normalize_rewards,
        normalize_advantages=normalize_advantages,
    )
    values = values_of(update, rollout)
    metrics, batch = update(rollout), update.batch
    unit = discounted_returns([rollout], gamma).std() if normalize_rewards else 1.0
    raw = unit * advantages_by_loop(rollout, rollout.rewards / unit, values, gamma, gae_lambda)[rollout.valid]
    if clip:
        low, high = raw.mean() - clip * raw.std(), raw.mean() + clip * raw.std()
        assert raw.min() < low
        assert raw.max() > high
        raw = raw.clip(low, high)
    mean, scale = (raw.mean(), raw.std()) if normalize_advantages else (0.0, unit)
    advantages = batch.advantages.numpy()[rollout.valid.ravel()]
    np.testing.assert_allclose(advantages, (raw - mean) / scale, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose([batch.advantage_mean, batch.advantage_scale], [mean, scale], rtol=1e-3, atol=1e-4)
    if gamma == 1:
        return
    epsilon, horizon = np.abs(raw).max(), 1 / (1 - gamma)
    coefficient = 4 * epsilon * gamma * horizon**2
    expected = {
        "epsilon": epsilon,
        "penalty_coefficient": coefficient,
        "predicted_improvement": 0.03 * scale * horizon,
        "actual_improvement": 0.02 * scale * horizon,
        "improvement": 0.02 * scale * horizon - coefficient * 0.05,
    }
    bound = {name.removeprefix("bound/"): figure for name, figure in metrics.items() if name.startswith("bound/")}
    assert bound == pytest.approx(expected, rel=1e-3)


def test_rewards_are_scaled_by_the_std_of_all_returns_so_far_and_not_centred(rollout):
    gamma = 0.9
    second = make_rollout(1, just_ended=ended(rollout)[-1])
    update = Update(gamma=gamma, gae_lambda=0.8, normalize_advantages=False)
    for rollouts in ([rollout], [rollout, second]):
        values = values_of(update, rollouts[-1])
        update(rollouts[-1])
        scaled = rollouts[-1].rewards / discounted_returns(rollouts, gamma).std()
        expected = advantages_by_loop(rollouts[-1], scaled, values, gamma, 0.8)
        advantages = update.batch.advantages.numpy().reshape(T, B)
        valid = rollouts[-1].valid
        np.testing.assert_allclose(advantages[valid], expected[valid], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("value_target", "target_lambda"), [("lambda-return", 0.6), ("reward-to-go", 1.0)])
def test_the_value_function_is_fitted_to_its_targets(rollout, value_target, target_lambda):
    gamma = 0.9
    # advantage_clip does not affect the value function.
    settings = {"value_target": value_target, "advantage_clip": 1.2, "normalize_rewards": False}
    update = Update(gamma=gamma, gae_lambda=0.6, **settings)
    values = values_of(update, rollout)
    metrics = update(rollout)
    targets = advantages_by_loop(rollout, rollout.rewards, values, gamma, target_lambda) + values[:-1]
    # It is fitted under the statistics that it will be used with, those after the update.
    errors = (targets - values_of(update, rollout)[:-1])[rollout.valid]
    assert metrics["train/value_loss"] == pytest.approx(np.mean(errors**2), rel=1e-4)
    residuals = (targets - values[:-1])[rollout.valid]
    explained = 1 - residuals.var() / targets[rollout.valid].var()
    assert metrics["train/explained_variance"] == pytest.approx(explained, rel=1e-3)


def test_the_first_statistics_come_before_the_policys_step_and_all_others_after_it(rollout):
    update = Update()
    seen, before = rollout.observations[:-1][rollout.valid], values_of(update, rollout)
    update(rollout)
    assert update.recorder.seen[-1][1] == len(seen)
    np.testing.assert_allclose(values_of(update, rollout), before, rtol=1e-4, atol=1e-4)
    second = make_rollout(1)
    update(second)
    assert update.recorder.seen[-1][1] == len(seen)
    together = np.concatenate([seen, second.observations[:-1][second.valid]]).astype(np.float64)
    for model in (update.policy, update.value_function):
        [normalization] = model.encoder.normalization
        np.testing.assert_allclose(normalization.mean, together.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(normalization.variance, together.var(axis=0), rtol=1e-6)
        assert normalization.count.numpy() == len(together)


@pytest.mark.parametrize("function_preserving", [True, False])
def test_statistics_move_the_policy_only_if_they_are_let_free_and_that_is_reported(rollout, function_preserving):
    """The first statistics never do."""
    update = Update(function_preserving=function_preserving)
    kernel = update.policy.encoder.output_layer.kernel
    kernel.assign(tf.random.stateless_normal(kernel.shape, [0, 0]))

    def log_probabilities(of):
        parameters = update.policy.distribution_parameters(of.observations[:-1].reshape(T * B, 2))
        return tf.nn.log_softmax(tf.cast(parameters, tf.float64)).numpy()

    for number, seen in enumerate((rollout, make_rollout(1))):
        before = log_probabilities(seen)
        metrics = update(seen)
        kl = (np.exp(before) * (before - log_probabilities(seen))).sum(axis=1)[seen.valid.ravel()].mean()
        assert metrics["train/normalization_kl"] == pytest.approx(kl, rel=1e-4, abs=1e-12)
        assert kl > 1e-4 if number and not function_preserving else abs(kl) < 1e-6
