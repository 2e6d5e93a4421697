"""Small policies, random batches, and what a step does to them, computed again in NumPy."""

import functools
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.optimizers import Outcome, TrustRegion


def gaussian_log_prob(parameters, actions):
    mean, log_std = np.split(parameters, 2, axis=1)
    return stats.norm.logpdf(actions, mean, np.exp(log_std)).sum(axis=1)


def gaussian_kl(old, new):
    old_mean, old_log_std = np.split(old, 2, axis=1)
    new_mean, new_log_std = np.split(new, 2, axis=1)
    spread = np.exp(2 * old_log_std) + (old_mean - new_mean) ** 2
    return np.sum(new_log_std - old_log_std + spread / (2 * np.exp(2 * new_log_std)) - 0.5, axis=1)


def gaussian_entropy(parameters):
    _, log_std = np.split(parameters, 2, axis=1)
    return np.sum(log_std + 0.5 * np.log(2 * np.pi * np.e), axis=1)


def categorical_log_prob(logits, actions):
    return special.log_softmax(logits, axis=1)[np.arange(len(actions)), actions]


def categorical_kl(old, new):
    old, new = special.log_softmax(old, axis=1), special.log_softmax(new, axis=1)
    return np.sum(np.exp(old) * (old - new), axis=1)


def categorical_entropy(logits):
    return stats.entropy(special.softmax(logits, axis=1), axis=1)


GAUSSIAN = gaussian_log_prob, gaussian_kl, gaussian_entropy
CATEGORICAL = categorical_log_prob, categorical_kl, categorical_entropy


class SmallPolicy:
    """A policy of one hidden layer, and its derivatives by their definitions."""

    def __init__(self, kind):
        self.closed_forms = CATEGORICAL if kind == "categorical" else GAUSSIAN
        self.distribution = (
            Categorical(4)
            if kind == "categorical"
            else Gaussian([-1.0, -1.0], [1.0, 1.0], state_dependent_std=kind == "state-dependent")
        )
        encoder = Encoder(
            (3,), self.distribution.num_outputs, network=mlp((3,), (8,), seed=1), output_gain=0.01, seed=2
        )
        self.policy = Policy(encoder, self.distribution)
        self._initial = self.policy.get_weights()
        self._gradient = tf.function(self._gradient_of_surrogate, autograph=False)
        self._hessian = tf.function(self._hessian_of_mean_kl, autograph=False)

    def _gradient_of_surrogate(self, theta, batch):
        with tf.GradientTape() as tape:
            tape.watch(theta)
            log_prob = self.distribution.log_prob(self.policy.parameters_at(theta, batch.observations), batch.actions)
            mean = tf.reduce_sum(batch.weights * batch.advantages * log_prob)
        return tape.gradient(mean, theta)

    def _hessian_of_mean_kl(self, theta, batch):
        old = tf.cast(self.policy.parameters_at(theta, batch.observations), tf.float64)
        with tf.GradientTape() as outer:
            outer.watch(theta)
            with tf.GradientTape() as inner:
                inner.watch(theta)
                new = tf.cast(self.policy.parameters_at(theta, batch.observations), tf.float64)
                kl = self.distribution.kl(tf.stop_gradient(old), new)
                mean_kl = tf.tensordot(tf.cast(batch.weights, tf.float64), kl, 1)
            gradient = inner.gradient(mean_kl, theta)
        return outer.jacobian(gradient, theta)

    def gradient(self, batch):
        """Gradient of the surrogate, which is that of the log-probability at the policy that sampled."""
        return self._gradient(self.policy.flat_weights, batch).numpy().astype(np.float64)

    def fisher(self, batch):
        """The Fisher matrix by its definition: dense, without damping."""
        return self._hessian(self.policy.flat_weights, batch).numpy().astype(np.float64)

    def restart(self, seed):
        """Weights away from the start, where every state has the same distribution."""
        rng = np.random.default_rng(seed)
        self.policy.set_weights(self._initial)
        for variable in self.policy.trainable_variables:
            variable.assign_add(0.3 * rng.normal(size=variable.shape).astype(np.float32))
        [normalization] = self.policy.encoder.normalization
        normalization.mean.assign(rng.normal(size=3))
        normalization.scale.assign(np.sqrt(rng.uniform(0.5, 2.0, size=3)))
        normalization.limit.assign(normalization.clip)

    def batch(self, seed, *, samples=48, padding=0, scale=1.0):
        """Actions of the policy as it is in random states, with random advantages."""
        rng = np.random.default_rng(seed + 1000)
        observations = tf.constant(2 * rng.normal(size=(samples, 3)), tf.float32)
        noise = self.distribution.noise([samples], tf.constant([seed, 1], tf.int32))
        actions = self.distribution.sample(self.policy.distribution_parameters(observations), noise)
        valid = np.ones(samples)
        valid[rng.choice(samples, padding, replace=False)] = 0
        advantages = tf.constant(scale * rng.normal(size=samples), tf.float32)
        return Batch(observations, actions, advantages, tf.constant(valid / valid.sum(), tf.float32))

    def theta(self):
        return self.policy.flat_weights.numpy()

    def assign(self, theta):
        self.policy.assign_flat_weights(tf.constant(theta, tf.float32))

    def parameters(self, batch):
        return self.policy.distribution_parameters(batch.observations).numpy().astype(np.float64)

    def figures(self, old, batch):
        """KL, improvement, L, entropy and the largest KL of the policy as it is, from old parameters."""
        log_prob, kl, entropy = self.closed_forms
        weights = batch.weights.numpy().astype(np.float64)
        valid = weights > 0
        old, new, weights = old[valid], self.parameters(batch)[valid], weights[valid]
        actions, advantages = batch.actions.numpy()[valid], batch.advantages.numpy()[valid].astype(np.float64)
        ratio = np.exp(log_prob(new, actions) - log_prob(old, actions))
        divergence = kl(old, new)
        return {
            "kl": weights @ divergence,
            "improvement": weights @ (advantages * (ratio - 1)),
            "surrogate": weights @ (advantages * ratio),
            "entropy": weights @ entropy(new),
            "max_kl_over_states": divergence.max(),
        }


small_policy = functools.cache(SmallPolicy)


class Step(NamedTuple):
    """A step that was taken, and the figures of it that a second computation gives, in float64."""

    outcome: Outcome
    old_theta: np.ndarray
    theta: np.ndarray
    kl: np.ndarray
    improvement: np.ndarray
    surrogate: np.ndarray
    entropy: np.ndarray
    max_kl_over_states: np.ndarray

    @property
    def change(self):
        return self.theta.astype(np.float64) - self.old_theta


class Stepper:
    """A policy optimizer's compiled step of a small policy, which all steppers of a kind share."""

    def __init__(self, optimizer, kind, make_state, *, jit_compile, **settings):
        self.small = small_policy(kind)
        self.policy = self.small.policy
        self.optimizer = optimizer
        self.state = (make_state or optimizer.make_state)(self.policy)
        self._initial_state = self.state_values()
        self._step = tf.function(
            lambda batch, progress: optimizer.step(self.policy, batch, self.state, progress=progress, **settings),
            jit_compile=jit_compile,
            autograph=False,
        )

    def __getattr__(self, name):
        return getattr(self.small, name)

    def state_values(self):
        return [variable.numpy() for variable in self.state.variables]

    def forget(self):
        """Set the state back to its start."""
        for variable, value in zip(self.state.variables, self._initial_state, strict=True):
            variable.assign(value)
        return self

    def outcome(self, batch, progress=0.0):
        outcome = self._step(batch, tf.constant(progress, tf.float64))
        return Outcome(*(None if value is None else value.numpy() for value in outcome))

    def step(self, batch, progress=0.0):
        old_theta, old = self.theta(), self.parameters(batch)
        outcome = self.outcome(batch, progress)
        return Step(outcome, old_theta, self.theta(), **self.figures(old, batch))

    def run(self, seed, progress=0.0, **batch_settings):
        self.restart(seed)
        return self.step(self.batch(seed, **batch_settings), progress)

    def derivatives(self, seed, **batch_settings):
        """(The batch of a seed at its weights, F, g)."""
        self.restart(seed)
        batch = self.batch(seed, **batch_settings)
        return batch, self.fisher(batch), self.gradient(batch)


@pytest.fixture(scope="session")
def make_stepper():
    """make_stepper(policy optimizer, kind, ...): traced once for equal arguments, with the state of the start."""

    @functools.cache
    def cached(optimizer, kind, make_state, jit_compile, chunk_size, gamma):
        settings = {"chunk_size": chunk_size, "gamma": gamma}
        return Stepper(optimizer, kind, make_state, jit_compile=jit_compile, **settings)

    def make(optimizer, kind="fixed-std", *, make_state=None, jit_compile=False, chunk_size=None, gamma=0.5):
        return cached(optimizer, kind, make_state, jit_compile, chunk_size, gamma).forget()

    return make


@pytest.fixture(
    scope="session", params=["categorical", "fixed-std", pytest.param("state-dependent", marks=pytest.mark.slow)]
)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def stepper(kind, make_stepper):
    """The default TrustRegion."""
    return make_stepper(TrustRegion(), kind)
