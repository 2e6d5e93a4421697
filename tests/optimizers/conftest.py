"""Small policies, random batches, and what a step does to them, computed again in NumPy."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.optimizers import Outcome, TrustRegion


class GaussianForms:
    """Closed forms for [mean, log_std]."""

    def __init__(self, parameters):
        self.mean, log_std = np.split(parameters, 2, axis=1)
        self.std = np.exp(log_std)

    def log_prob(self, actions):
        return stats.norm.logpdf(actions, self.mean, self.std).sum(axis=1)

    def kl(self, new):
        spread = (self.std**2 + (self.mean - new.mean) ** 2) / (2 * new.std**2)
        return np.sum(np.log(new.std / self.std) + spread - 0.5, axis=1)

    def entropy(self):
        return np.sum(0.5 * np.log(2 * np.pi * np.e) + np.log(self.std), axis=1)


class CategoricalForms:
    """Closed forms for logits."""

    def __init__(self, logits):
        self.log_probabilities = special.log_softmax(logits, axis=1)

    def log_prob(self, actions):
        return self.log_probabilities[np.arange(len(actions)), actions]

    def kl(self, new):
        return np.sum(np.exp(self.log_probabilities) * (self.log_probabilities - new.log_probabilities), axis=1)

    def entropy(self):
        return -np.sum(np.exp(self.log_probabilities) * self.log_probabilities, axis=1)


class SmallPolicy:
    """A policy of one hidden layer, and its derivatives by their definitions."""

    def __init__(self, kind):
        self.closed_forms = CategoricalForms if kind == "categorical" else GaussianForms
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

    def central_differences(self, value):
        """Compute the gradient [P] of value() at the present weights, by moving one weight after the other."""
        theta, gradient = self.theta().astype(np.float64), []
        for position in range(len(theta)):
            values = []
            for sign in (1, -1):
                moved = theta.copy()
                moved[position] += sign * 1e-2
                self.assign(moved)
                values.append(value())
            gradient.append((values[0] - values[1]) / 2e-2)
        self.assign(theta)
        return np.array(gradient)

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
        weights = batch.weights.numpy().astype(np.float64)
        valid = weights > 0
        weights = weights[valid]
        old, new = (self.closed_forms(parameters[valid]) for parameters in (old, self.parameters(batch)))
        actions, advantages = batch.actions.numpy()[valid], batch.advantages.numpy()[valid].astype(np.float64)
        ratio = np.exp(new.log_prob(actions) - old.log_prob(actions))
        divergence = old.kl(new)
        return {
            "kl": weights @ divergence,
            "improvement": weights @ (advantages * (ratio - 1)),
            "surrogate": weights @ (advantages * ratio),
            "entropy": weights @ new.entropy(),
            "max_kl_over_states": divergence.max(),
        }


small_policy = functools.cache(SmallPolicy)


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
        """A step that was taken, and the figures of it that a second computation gives, in float64."""
        old_theta, old = self.theta(), self.parameters(batch)
        outcome, theta = self.outcome(batch, progress), self.theta()
        change = theta.astype(np.float64) - old_theta
        figures = self.figures(old, batch)
        return SimpleNamespace(outcome=outcome, old_theta=old_theta, theta=theta, change=change, **figures)

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
    """The default TrustRegion, with a limit that is the same for all kinds."""
    return make_stepper(TrustRegion(0.01), kind)
