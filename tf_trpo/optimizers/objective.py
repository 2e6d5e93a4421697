"""The surrogate, the KL, their gradients and Fisher-vector products, estimated from the samples of a batch."""

from __future__ import annotations

import copy
import dataclasses
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tf_trpo.estimation import Batch, as_rows, counted_weights, from_rows, surrogate_improvement, weighted_mean
from tf_trpo.estimation.batch import chunk_weights, weights_in_chunk
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import map_over_chunks, reduce_over_chunks
from tf_trpo.numerics.fisher_vector_product import Product
from tf_trpo.optimizers.curvature import FisherVectorProduct, sampled_product, subsample

if TYPE_CHECKING:
    from tf_trpo.models import Policy

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


class AddedTerm(NamedTuple):
    """A term that an algorithm adds to the surrogate, such as a bonus.

    Attributes:
      gradient: [P], at the old parameters.
      gain: (parameters [P], the policy's figures at these) -> rise of the term from the old ones, float64 scalar.
    """

    gradient: tf.Tensor
    gain: Callable[[tf.Tensor, PolicyFigures], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class WeightedEntropy:
    """The mean entropy times a number, a `Value`.

    Attributes:
      entropy: `Objective.entropy`.
      coefficient: float64 scalar.
    """

    entropy: Callable[[tf.Tensor, tf.Tensor], Any]
    coefficient: tf.Tensor

    def __call__(self, new: tf.Tensor, samples: Samples) -> tf.Tensor:
        return self.coefficient * self.entropy(new, samples.weights)


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
      samples: the samples of the surrogate, whose advantages `with_samples` may have replaced.
      chunk_size: as below.
      in_segments: whether the samples are in segments.
      sees_images: whether a part of the observations is an image.

    Args:
      policy, batch, theta, gamma: as above.
      chunk_size: largest number of samples (with a memory, of segments) in memory at once; None for all. A number needs
        a static N. If there is one chunk, Fisher-vector products share the network's activations. If there are several,
        each product computes the activations again.
      old: the policy's distribution parameters at theta, [N, D] or [S, L, D], if they are known already.
    """

    def __init__(
        self,
        policy: Policy,
        batch: Batch,
        theta: tf.Tensor,
        chunk_size: int | None = None,
        gamma: float | tf.Tensor | None = None,
        old: tf.Tensor | None = None,
    ) -> None:
        self.policy = policy
        self.batch = batch
        self.theta = theta
        self.gamma = gamma
        self.chunk_size = chunk_size
        self.in_segments = batch.weights.shape.rank == 2
        self.sees_images = _sees_images(batch.observations, 2 if self.in_segments else 1)
        old, entropy = self._of_old_policy(old)
        self.samples, zero = Samples(*batch[:4], old), tf.constant(0.0, tf.float64)
        self.old = OldPolicy(theta, PolicyFigures(zero, zero, zero, entropy))

    def gradient(self, value: Value | None = None) -> tf.Tensor:
        """Compute the gradient [P] of a value at theta, by default of the surrogate."""
        return self._gradient(value or self.improvement, self.theta, self.samples)

    def with_samples(self, **replaced: tf.Tensor) -> Objective:
        """Copy the objective with other `advantages` [N], or with another `old` policy, given by its parameters [N, D].

        Arrays of segments are [S, L] and [S, L, D]. The attributes `batch` and `old` stay as they are.
        """
        other = copy.copy(self)
        other.samples = self.samples._replace(**replaced)
        return other

    def minibatch_gradient(self, value: Value, theta: tf.Tensor, rows: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
        """Compute the gradient [P] of a value at theta [P], on a minibatch.

        Args:
          value: gets the samples' weights, scaled so that the expectation of their sum over random minibatches is 1.
            Equal weights have the sum 1 in every minibatch.
          theta: parameters, which may differ from those of the policy that sampled.
          rows: int32 [M], the samples, or the segments.
          counted: bool [M], False on rows that only fill the minibatch up.
        """
        minibatch = tf.nest.map_structure(lambda array: tf.gather(array, rows), self.samples)
        weights = counted_weights(minibatch.weights, counted)
        # If branches try all actions of a state, rare actions weigh less. With the sum 1 in each minibatch, they would
        # gain weight.
        whole, own = (tf.math.count_nonzero(each, dtype=weights.dtype) for each in (self.samples.weights, weights))
        weights *= tf.math.divide_no_nan(whole, own)
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
            mean = weighted_mean(kl, samples.weights)
            largest = _largest(tf.reduce_max(tf.where(samples.weights > 0, kl, 0.0)), mean)
            entropy = self.entropy(new, samples.weights)
            return PolicyFigures(self.improvement(new, samples), mean, largest, entropy).tensors

        nothing = tuple(tf.constant(0.0, tf.float64) for _ in self.old.figures.tensors)
        return PolicyFigures(*self._over(self.samples, on_chunk, combined, nothing))

    def fisher_vector_product(self, *, fraction: float = 1.0, kind: FisherVectorProduct = "gauss-newton") -> Product:
        """Make the product v [P] -> F v [P] with the Fisher matrix at theta, on a fraction of the samples."""
        samples = subsample(self.samples.observations, self.samples.weights, fraction)
        return sampled_product(self.policy, self.theta, *samples, kind, self.chunk_size)

    def _of_old_policy(self, old: tf.Tensor | None) -> tuple[Any, tf.Tensor | None]:
        """Return the old policy's parameters, and its entropy if there is a closed form."""
        weights = self.batch.weights

        def parameters(observations: Any) -> tf.Tensor:
            return from_rows(self.policy.parameters_at(self.theta, observations), weights)

        if old is None:
            old = tf.stop_gradient(map_over_chunks(parameters, self.batch.observations, self.chunk_size))
        return old, self.entropy(*(_float64(as_rows(array, weights)) for array in (old, weights)))

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
            weights = weights_in_chunk(chunk.weights, counted)
            rows = (_float64(as_rows(array, weights)) for array in chunk._replace(weights=weights)[1:])
            return function(Samples(chunk.observations, *rows))

        return reduce_over_chunks(on_chunk, combine, initial, samples, chunk_weights(samples.weights), self.chunk_size)


def combined(first: tuple[tf.Tensor, ...], second: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    """Combine `PolicyFigures.tensors` of two chunks."""
    one, other = PolicyFigures(*first), PolicyFigures(*second)
    largest = tf.maximum(one.max_kl_over_states, other.max_kl_over_states)
    sums = PolicyFigures(*(a + b for a, b in zip(first, second, strict=True)))
    return sums._replace(max_kl_over_states=_largest(largest, sums.kl)).tensors


def _largest(maximum: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    """Return the maximum, or the mean if it is not finite: a maximum that XLA computes leaves out NaN."""
    return tf.where(tf.math.is_finite(mean), maximum, mean)


def _sees_images(observations: Any, leading: int) -> bool:
    from tf_trpo.spaces import is_image

    return any(is_image(tuple(rows.shape[leading:]), rows.dtype.name) for rows in tf.nest.flatten(observations))


def _float64(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float64) if tensor.dtype.is_floating else tensor
