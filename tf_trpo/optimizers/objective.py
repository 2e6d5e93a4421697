"""The surrogate, the KL, their gradients and Fisher-vector products, estimated from the samples of a batch."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from tf_trpo.estimation import Batch, as_rows, counted_weights, from_rows, surrogate_improvement, weighted_mean
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import (
    differentiable_twice,
    double_backprop_fisher_vector_product,
    gauss_newton_fisher_vector_product,
    map_over_chunks,
    reduce_over_chunks,
)
from tf_trpo.numerics.fisher_vector_product import Product

if TYPE_CHECKING:
    from tf_trpo.models import Policy

FisherVectorProduct = Literal["gauss-newton", "double-backprop"]
Value = Callable[["tf.Tensor", "Samples"], "tf.Tensor"]
"""(Distribution parameters [N, D] of a policy, float64 samples) -> a float64 scalar, a sum over the samples."""


class Samples(NamedTuple):
    """The tensors of a batch with N rows, or S segments of L; `old` has the old policy's parameters [N, D]."""

    observations: Any
    actions: tf.Tensor
    advantages: tf.Tensor
    weights: tf.Tensor
    old: tf.Tensor


class PolicyFigures(NamedTuple):
    """Figures of a policy on the samples; float64 scalars.

    Attributes:
      improvement: L(policy) - L(old).
      kl: mean joint KL(old || policy), in nats.
      max_kl_over_states: the largest KL(old || policy) of a valid sample.
      entropy: mean entropy, in nats; None if the policy has no closed form of it.
    """

    improvement: tf.Tensor
    kl: tf.Tensor
    max_kl_over_states: tf.Tensor
    entropy: tf.Tensor | None = None

    @property
    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The figures that are not None, in the order above: TensorFlow's loops carry tensors only."""
        return tuple(figure for figure in self if figure is not None)


class OldPolicy(NamedTuple):
    """The policy that sampled.

    Attributes:
      theta: its flat parameters [P].
      figures: its figures, of which all but the entropy are 0.
    """

    theta: tf.Tensor
    figures: PolicyFigures


class Rising(NamedTuple):
    """A term that an algorithm adds to the surrogate, such as a bonus.

    Attributes:
      gradient: [P], at the old parameters.
      gain: (parameters [P], the policy's figures at these) -> rise of the term from the old ones, float64 scalar.
    """

    gradient: tf.Tensor
    gain: Callable[[tf.Tensor, PolicyFigures], tf.Tensor]


class Objective:
    """The surrogate and the KL of a policy near the one that sampled, as functions of the flat parameters.

    The network runs in its own precision. Its outputs are cast to float64, because a KL near 0 is a difference of
    nearly equal numbers, and the limit on the KL is exact.

    Attributes:
      policy: the policy whose parameters vary.
      batch: N samples of the policy at theta, or S segments of them.
      theta: the policy's flat parameters [P] as they were when it sampled.
      gamma: discount of the batch's returns, in [0, 1], a number or a float64 scalar; None if it is not known.
      old: the policy at theta, and its figures.
      chunk_size: as below.
      in_segments: whether the samples are in segments.
      sees_images: whether a part of the observations is an image.

    Args:
      policy, batch, theta, gamma: as above.
      chunk_size: largest number of samples in memory at once, or of segments, which needs a static N; None for all. If
        there is one chunk, Fisher-vector products share the network's activations. If there are several, each product
        computes the activations again.
    """

    def __init__(
        self,
        policy: Policy,
        batch: Batch,
        theta: tf.Tensor,
        chunk_size: int | None = None,
        gamma: float | tf.Tensor | None = None,
    ) -> None:
        self.policy = policy
        self.batch = batch
        self.theta = theta
        self.gamma = gamma
        self.chunk_size = chunk_size
        self.in_segments = batch.weights.shape.rank == 2
        self.sees_images = _sees_images(batch.observations, 2 if self.in_segments else 1)
        old = tf.stop_gradient(map_over_chunks(self._old_parameters, batch.observations, chunk_size))
        self._samples = Samples(*batch[:4], old)
        rows, weights = (_float64(as_rows(array, batch.weights)) for array in (old, batch.weights))
        zero, entropy = tf.constant(0.0, tf.float64), self.entropy(rows, weights)
        self.old = OldPolicy(theta, PolicyFigures(zero, zero, zero, entropy))

    @property
    def samples(self) -> Samples:
        """The samples of the surrogate, whose advantages `with_samples` may have replaced."""
        return self._samples

    def gradient(self, value: Value | None = None) -> tf.Tensor:
        """Compute the gradient [P] of a value at theta, by default of the surrogate."""
        return self._gradient(value or self.improvement, self.theta, self._samples)

    def with_samples(self, **replaced: tf.Tensor) -> Objective:
        """Copy the objective with other `advantages` [N], or with another `old` policy, given by its parameters [N, D].

        Arrays of segments are [S, L] and [S, L, D]. The attributes `batch` and `old` stay as they are.
        """
        other = copy.copy(self)
        other._samples = self._samples._replace(**replaced)
        return other

    def minibatch_gradient(self, value: Value, theta: tf.Tensor, rows: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
        """Compute the gradient [P] of a value at theta [P], on a minibatch.

        Args:
          value: gets weights whose sum is 1.
          theta: parameters, which may differ from those of the policy that sampled.
          rows: int32 [M], the samples, or the segments.
          counted: bool [M], False on rows that only fill the minibatch up.
        """
        minibatch = tf.nest.map_structure(lambda array: tf.gather(array, rows), self._samples)
        weights = counted_weights(minibatch.weights, counted)
        weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
        return self._gradient(value, theta, minibatch._replace(weights=weights))

    def improvement(self, new: tf.Tensor, samples: Samples) -> tf.Tensor:
        """Compute L(new) - L(old), a `Value`."""
        return surrogate_improvement(*self.log_probs(new, samples), samples.advantages, samples.weights)

    def kl(self, new: tf.Tensor, samples: Samples) -> tf.Tensor:
        """Compute the mean KL(old || new) in nats, a `Value`."""
        return weighted_mean(self.policy.action_distribution.kl(samples.old, new), samples.weights)

    def log_probs(self, new: tf.Tensor, samples: Samples) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute log pi(a|s) of the new policy and of the old one, [N] each."""
        log_prob = self.policy.action_distribution.log_prob
        return log_prob(new, samples.actions), log_prob(samples.old, samples.actions)

    def entropy(self, parameters: tf.Tensor, weights: tf.Tensor) -> tf.Tensor | None:
        """Compute the mean entropy in nats; None if the policy has no closed form of it."""
        entropy = self.policy.action_distribution.entropy(parameters)
        return None if entropy is None else weighted_mean(entropy, weights)

    def figures(self, theta: tf.Tensor) -> PolicyFigures:
        """Compute the figures of the policy with parameters theta [P]."""

        def on_chunk(samples: Samples) -> tuple[tf.Tensor, ...]:
            new = _float64(self.policy.parameters_at(theta, samples.observations))
            kl = self.policy.action_distribution.kl(samples.old, new)
            mean, largest = weighted_mean(kl, samples.weights), tf.reduce_max(tf.where(samples.weights > 0, kl, 0.0))
            entropy = self.entropy(new, samples.weights)
            return PolicyFigures(self.improvement(new, samples), mean, largest, entropy).tensors

        nothing = tuple(tf.constant(0.0, tf.float64) for _ in self.old.figures.tensors)
        return PolicyFigures(*self._over(self._samples, on_chunk, _combined, nothing))

    def fisher_vector_product(self, *, fraction: float = 1.0, kind: FisherVectorProduct = "gauss-newton") -> Product:
        """Make the product v [P] -> F v [P] with the Fisher matrix at theta, on a fraction of the samples."""
        observations, weights = subsample(self._samples.observations, self._samples.weights, fraction)
        on_chunk = self._product_on_chunk(kind)

        def product(vector: tf.Tensor) -> tf.Tensor:
            def of_chunk(chunk: tuple[Any, tf.Tensor], counted: tf.Tensor) -> tf.Tensor:
                return on_chunk(self.theta, vector, chunk[0], _counting(chunk[1], counted))

            nothing, samples = tf.zeros_like(self.theta), (observations, weights)
            return reduce_over_chunks(of_chunk, operator.add, nothing, samples, _of_rows(weights), self.chunk_size)

        return product

    def _product_on_chunk(self, kind: FisherVectorProduct) -> Callable[..., tf.Tensor]:
        """Make (theta, v [P], observations, weights) -> F v [P] of a chunk, traced once for all uses."""
        distribution, policy = self.policy.action_distribution, self.policy

        def on_chunk(theta: tf.Tensor, vector: tf.Tensor, observations: Any, weights: tf.Tensor) -> tf.Tensor:
            parameters = functools.partial(policy.parameters_at, observations=observations)
            given = parameters, distribution.kl, theta, as_rows(weights, weights)
            if kind == "double-backprop":
                with differentiable_twice():
                    return double_backprop_fisher_vector_product(*given)(vector)
            return gauss_newton_fisher_vector_product(*given, distribution.metric_product)(vector)

        return tf.function(on_chunk, autograph=False)

    def _old_parameters(self, observations: Any) -> tf.Tensor:
        """Compute distribution parameters at theta, [N, D], or [S, L, D] in segments."""
        return from_rows(self.policy.parameters_at(self.theta, observations), self.batch.weights)

    def _gradient(self, value: Value, theta: tf.Tensor, samples: Samples) -> tf.Tensor:

        def on_chunk(samples: Samples) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(theta)
                result = value(_float64(self.policy.parameters_at(theta, samples.observations)), samples)
            return tape.gradient(result, theta, unconnected_gradients="zero")

        return self._over(samples, on_chunk, operator.add, tf.zeros_like(theta))

    def _over(self, samples: Samples, function: Callable[[Samples], Any], combine: Any, initial: Any) -> Any:
        """Combine the function's results on all chunks.

        The function gets float64 rows [N, ...], also of segments, except for the observations.
        """

        def on_chunk(chunk: Samples, counted: tf.Tensor) -> Any:
            weights = _counting(chunk.weights, counted)
            rows = (_float64(as_rows(array, weights)) for array in chunk._replace(weights=weights)[1:])
            return function(Samples(chunk.observations, *rows))

        return reduce_over_chunks(on_chunk, combine, initial, samples, _of_rows(samples.weights), self.chunk_size)


def _combined(first: tuple[tf.Tensor, ...], second: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    one, other = PolicyFigures(*first), PolicyFigures(*second)
    largest = tf.maximum(one.max_kl_over_states, other.max_kl_over_states)
    sums = PolicyFigures(*(a + b for a, b in zip(first, second, strict=True)))
    return sums._replace(max_kl_over_states=largest).tensors


def _of_rows(weights: tf.Tensor) -> tf.Tensor:
    """Return the weights [N] by which chunks count rows: the samples' weights, or 1 for each segment."""
    return weights if len(weights.shape) == 1 else tf.ones(weights.shape[:1], weights.dtype)


def _counting(weights: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
    """Return the weights of a chunk's samples, given the part of `_of_rows` that `reduce_over_chunks` passes."""
    return counted if len(weights.shape) == 1 else counted_weights(weights, counted)


def _sees_images(observations: Any, leading: int) -> bool:
    from tf_trpo.spaces import is_image

    return any(is_image(tuple(rows.shape[leading:]), rows.dtype.name) for rows in tf.nest.flatten(observations))


def subsample(observations: Any, weights: tf.Tensor, fraction: float) -> tuple[Any, tf.Tensor]:
    """Take a fraction of the samples, in a random order that is the same in every batch, samples of weight 0 last.

    If the weights are [S, L], whole segments are taken.

    The order is random because every k-th row of a flattened [T, B] could be of the same environment.
    """
    if fraction == 1.0:
        return observations, weights
    size = weights.shape[0]
    if size is None:
        raise ValueError("a curvature_fraction below 1 needs a static number of samples")
    places = np.argsort(np.random.default_rng(0).permutation(size))
    counts = weights > 0 if weights.shape.rank == 1 else tf.reduce_any(weights > 0, axis=1)
    order = tf.argsort(tf.where(counts, places, places + size))
    rows = tf.sort(order[: max(1, round(fraction * size))])
    weights = tf.gather(weights, rows)
    chosen = tf.nest.map_structure(lambda part: tf.gather(part, rows), observations)
    return chosen, tf.math.divide_no_nan(weights, tf.reduce_sum(weights))


def _float64(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float64) if tensor.dtype.is_floating else tensor
