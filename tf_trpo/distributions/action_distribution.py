"""The action distribution of a policy: how the encoder's outputs become actions, probabilities and a KL."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions.acting import Acting
from tf_trpo.distributions.action_spaces import describe_space, difference
from tf_trpo.numerics import Reflection, hessian_product_at_minimum
from tf_trpo.spaces import MASKED_ACTIONS

Distribution: TypeAlias = tfp.distributions.Distribution


class ActionDistribution(keras.layers.Layer, abc.ABC):
    """A family of distributions over actions, and everything that a policy needs to know of actions.

    A subclass defines `distribution`. Any TFP distribution will do if its KL is registered and can be differentiated
    twice at its minimum (the KL of Laplace cannot: it has an absolute value there). The other methods have defaults
    that hold for every distribution, and a subclass may have closed forms. Weights that do not depend on the
    observation, such as a Gaussian's free standard deviations, belong to this layer.

    Args:
      num_outputs: numbers that the encoder computes for each observation.
      **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, num_outputs: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_outputs = num_outputs
        self.built = True

    def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
        """Turn the encoder's outputs [N, num_outputs] into the distribution's parameters [N, D]; here, the same."""
        return outputs

    @abc.abstractmethod
    def distribution(self, parameters: tf.Tensor) -> Distribution:
        """Make the TFP distribution over actions, batch shape [N], from parameters [N, D] of any float type."""

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Compute the log-probability or log-density [N] of actions [N, ...], for the surrogate's ratios."""
        return self.distribution(parameters).log_prob(actions)

    def kl(self, parameters: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Compute the joint KL(parameters || other) for each sample [N], in nats, by the closed form that TFP has."""
        return self.distribution(parameters).kl_divergence(self.distribution(other))

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Compute M u [N, D] for each sample, M the Fisher matrix [D, D] of its distribution in its parameters [N, D].

        Here by automatic differentiation of the KL; a closed form saves the time to trace and compile that.
        """
        return hessian_product_at_minimum(self.kl, parameters, vectors)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor | None:
        """Compute the entropy for each sample [N], in nats; None if TFP has no closed form for the distribution."""
        try:
            return self.distribution(parameters).entropy()
        except NotImplementedError:
            return None

    @property
    def dimensions(self) -> int:
        """Number of an action's dimensions, each a number or a choice; here, the size of an event of the TFP one."""
        parameters = self.parameters(tf.zeros([1, self.num_outputs]))
        return int(self.distribution(parameters).event_shape.num_elements())

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        """Draw noise [*shape, ...] for `sample` by a seed, int32 [2]; here, seeds, of which `sample` uses the first."""
        return tf.random.stateless_uniform([*shape, 2], seed, minval=0, maxval=tf.int32.max, dtype=tf.int32)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Compute actions [N, ...], a deterministic function of parameters [N, D] and noise [N, ...]."""
        return self.distribution(parameters).sample(seed=noise[0])

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Compute the most likely actions [N, ...]."""
        return self.distribution(parameters).mode()

    def to_environment(self, actions: tf.Tensor) -> Any:
        """Turn sampled actions [N, ...] into the environment's, an array or a nest of them; here, the same.

        For exported models, which must not depend on NumPy; `environment_actions` is for acting.
        """
        return actions

    def environment_actions(self, actions: np.ndarray) -> Any:
        """Turn sampled actions with any leading axes into the environment's, in the environment's space and type."""
        return self.acting()(actions)

    def acting(self) -> Acting:
        """Give the function of `environment_actions`; here, by `to_environment`.

        One that can be pickled, and does not need this object, acts in processes without TensorFlow too.
        """
        return self._by_tensors

    def _by_tensors(self, actions: np.ndarray) -> Any:
        return tf.nest.map_structure(np.asarray, self.to_environment(tf.convert_to_tensor(actions)))

    def from_environment(self, actions: Any) -> np.ndarray:
        """Turn the environment's actions, a nest of arrays [L, ...], into sampled ones [L, ...], to learn from others'.

        `environment_actions` gives the same actions again. Here, they are the same.

        Raises:
          NotImplementedError: the class defines `to_environment`, and not this.
        """
        if type(self).to_environment is not ActionDistribution.to_environment:
            raise NotImplementedError(
                f"{type(self).__name__} must define from_environment to learn from demonstrations"
            )
        return np.asarray(actions)

    @property
    def mask_size(self) -> int | None:
        """Number of choices that a mask tells of; here None, since the actions cannot be masked."""
        return None

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Compute the parameters [N, D] under which actions that are not allowed have the probability 0.

        KL, entropy and Fisher matrix then know nothing of these actions.

        Args:
          parameters: float [N, D].
          mask: [N, mask_size] of any type, 0 for each choice that is not allowed. If nothing is allowed, all is.

        Raises:
          ValueError: the actions cannot be masked.
        """
        raise ValueError(f"{MASKED_ACTIONS}, not those of {type(self).__name__}")

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Name parts of the parameters [N, D] for an exported model; here, all are "parameters"."""
        return {"parameters": parameters}

    @property
    def is_scheduled(self) -> bool:
        """Whether a weight follows a schedule; here, none does."""
        return False

    def follow_schedule(self, progress: float) -> None:
        """Set the weights that follow a schedule before a rollout, by the fraction of the run that is over, in [0, 1].

        Here, there are none.
        """

    def figures(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute figures for the logs by name, one value for each sample [N]; here, none."""
        return {}

    def mirrored(self, actions: Reflection) -> Reflection:
        """Give the reflection of the outputs that belongs to a reflection of the actions.

        Raises:
          ValueError: the actions have no such reflection.
          NotImplementedError: the class does not define it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define mirrored(actions) to have a mirror")

    def difference(self, action_space: Any) -> str | None:
        """Name the first thing in which a Gymnasium space differs from the policy's own; None if nothing does.

        If `describe_actions` gives None, nothing does.
        """
        own = self.describe_actions()
        return None if own is None else difference(own, describe_space(action_space))

    def describe_actions(self) -> dict[str, Any] | None:
        """Describe the environment's action space, as `describe_space` does; here None, which is any space."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments that attributes of the same names keep."""
        names = inspect.signature(type(self).__init__).parameters.keys() & vars(self).keys()
        return {**super().get_config(), **{name: getattr(self, name) for name in sorted(names)}}
