"""The action distribution of a policy: maps the encoder's outputs to actions, probabilities and KL divergences."""

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
    """A family of distributions over actions, and everything that a policy needs to know about actions.

    A subclass must define `distribution`. Any TFP distribution can be used if its KL can be differentiated twice at its
    minimum (the KL of Laplace cannot: it has an absolute value there). The KL must be registered, or the class defines
    `kl`. The other methods have defaults that are right for every distribution; a subclass may replace them by closed
    forms. Weights that do not depend on the observation, such as a Gaussian's free standard deviations, belong to this
    layer.

    Args:
      num_outputs: number of the encoder's outputs for each observation.
      **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, num_outputs: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_outputs = num_outputs
        self.built = True

    def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
        """Convert the encoder's outputs [N, num_outputs] to distribution parameters [N, D]. Default: unchanged."""
        return outputs

    @abc.abstractmethod
    def distribution(self, parameters: tf.Tensor) -> Distribution:
        """Make the TFP distribution over actions with batch shape [N] from parameters [N, D] of any float type."""

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Compute the log-probability or log-density [N] of actions [N, ...], for the surrogate's ratios."""
        return self.distribution(parameters).log_prob(actions)

    def kl(self, parameters: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Compute the joint KL(parameters || other) of each sample [N], in nats. Default: TFP's closed form."""
        return self.distribution(parameters).kl_divergence(self.distribution(other))

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """Compute M u for each sample, where M is the Fisher matrix of its distribution in its parameters.

        Default: automatic differentiation of the KL. A closed form is faster to trace and compile.

        Args:
          parameters: float [N, D].
          vectors: u, float [N, D].

        Returns:
          float [N, D].
        """
        return hessian_product_at_minimum(self.kl, parameters, vectors)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor | None:
        """Compute the entropy of each sample [N], in nats; None if TFP has no closed form for the distribution."""
        try:
            return self.distribution(parameters).entropy()
        except NotImplementedError:
            return None

    @property
    def has_entropy(self) -> bool:
        """Whether `entropy` has a closed form."""
        return self.entropy(self.one_row()) is not None

    @property
    def dimensions(self) -> int:
        """Number of dimensions of an action. Default: the event size of the TFP distribution."""
        return int(self.distribution(self.one_row()).event_shape.num_elements())

    def one_row(self) -> tf.Tensor:
        """Return parameters [1, D], those of outputs of 0, from which shapes and types are read."""
        return self.parameters(tf.zeros([1, self.num_outputs]))

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        """Draw noise [*shape, ...] for `sample` from a seed, int32 [2]. Default: seeds; `sample` uses the first one."""
        return tf.random.stateless_uniform([*shape, 2], seed, minval=0, maxval=tf.int32.max, dtype=tf.int32)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Compute actions [N, ...] as a deterministic function of parameters [N, D] and noise [N, ...]."""
        return self.distribution(parameters).sample(seed=noise[0])

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Compute the most likely actions [N, ...]."""
        return self.distribution(parameters).mode()

    def to_environment(self, actions: tf.Tensor) -> Any:
        """Convert sampled actions [N, ...] to the environment's actions, a tensor or a nest. Default: unchanged.

        This is for exported models, which must not depend on NumPy; `environment_actions` is for acting.
        """
        return actions

    def environment_actions(self, actions: np.ndarray) -> Any:
        """Convert sampled actions with any leading axes to the environment's space and dtype."""
        return self.acting()(actions)

    def acting(self) -> Acting:
        """Return the function behind `environment_actions`. Default: `to_environment`.

        If the function can be pickled without this object, processes without TensorFlow can use it too.
        """
        return self._by_tensors

    def _by_tensors(self, actions: np.ndarray) -> Any:
        return tf.nest.map_structure(np.asarray, self.to_environment(tf.convert_to_tensor(actions)))

    def from_environment(self, actions: Any) -> np.ndarray:
        """Convert the environment's actions, a nest of arrays [L, ...], to sampled actions [L, ...].

        This is the inverse of `environment_actions`, for learning from demonstrations. Default: unchanged.

        Raises:
          NotImplementedError: the class defines `to_environment` but not this method.
        """
        if type(self).to_environment is not ActionDistribution.to_environment:
            raise NotImplementedError(
                f"{type(self).__name__} must define from_environment to learn from demonstrations"
            )
        return np.asarray(actions)

    @property
    def mask_size(self) -> int | None:
        """Number of entries of an action mask. Default: None, the actions cannot be masked."""
        return None

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Compute the parameters [N, D] of the distribution in which actions that are not allowed have probability 0.

        KL, entropy and Fisher matrix of the result do not depend on these actions.

        Args:
          parameters: float [N, D].
          mask: [N, mask_size] of any type, 0 for each choice that is not allowed. If no choice is allowed, all are.

        Raises:
          ValueError: the actions cannot be masked.
        """
        raise ValueError(f"{MASKED_ACTIONS}, not those of {type(self).__name__}")

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Split the parameters [N, D] into named parts for an exported model. Default: one part, "parameters"."""
        return {"parameters": parameters}

    @property
    def is_scheduled(self) -> bool:
        """Whether a weight follows a schedule. Default: no."""
        return False

    def follow_schedule(self, progress: float) -> None:
        """Set the weights that follow a schedule; called before each rollout. Default: nothing.

        Args:
          progress: fraction of the run that is over, in [0, 1].
        """

    def figures(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute figures for the logs by name, each with one value per sample [N]. Default: none."""
        return {}

    def mirrored(self, actions: Reflection) -> Reflection:
        """Return the reflection of the encoder's outputs that corresponds to a reflection of the actions.

        Raises:
          ValueError: the reflection does not fit the actions.
          NotImplementedError: the class does not define this method.
        """
        raise NotImplementedError(f"{type(self).__name__} must define mirrored(actions) to have a mirror")

    def difference(self, action_space: Any) -> str | None:
        """Describe the first difference of a Gymnasium space from the policy's own action space; None if they agree.

        If `describe_actions` returns None, every space agrees.
        """
        own = self.describe_actions()
        return None if own is None else difference(own, describe_space(action_space))

    def describe_actions(self) -> dict[str, Any] | None:
        """Describe the environment's action space as `describe_space` does. Default: None, which means any space."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, which are read from attributes of the same names.

        Raises:
          NotImplementedError: an argument has no such attribute, and the class does not define `get_config`.
        """
        cls, config = type(self), super().get_config()
        arguments = list(inspect.signature(cls.__init__).parameters.values())[1:]
        names = sorted(each.name for each in arguments if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))
        found = {name for name in names if name in vars(self) or isinstance(getattr(cls, name, None), property)}
        missing = [name for name in names if name not in found | config.keys()]
        if missing and cls.get_config is ActionDistribution.get_config:
            raise NotImplementedError(
                f"{cls.__name__} must store its argument {missing[0]} in an attribute of the same name, or define "
                "get_config: otherwise a loaded or copied distribution would have another value"
            )
        return {**config, **{name: getattr(self, name) for name in names if name in found}}
