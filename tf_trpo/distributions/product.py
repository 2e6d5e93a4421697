"""Joint distribution of independent parts, for actions in a Dict or a Tuple."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, final

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions.acting import Acting, Parted, PartOfActions
from tf_trpo.distributions.action_distribution import ActionDistribution, Distribution
from tf_trpo.numerics import Reflection


class _Sizes(NamedTuple):
    """Sizes of a part: the number of parameters, the shapes of one sample's noise and action, the action's dtype."""

    parameters: int
    noise: tuple[int, ...]
    action: tuple[int, ...]
    action_dtype: tf.DType


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class Product(ActionDistribution):
    """Independent parts, each with its own distribution; log-probability, KL and entropy are sums over the parts.

    Outputs, parameters, noise and sampled actions are concatenations of those of the parts; the parts of a dict are in
    the order of their names. Sampled actions are float32 [N, A], even integers.

    Args:
      parts: a dict or a tuple of distributions, which may be `Product`s themselves.
      **kwargs: arguments of `keras.layers.Layer`.

    Raises:
      ValueError: there are no parts, a name is not a string, or a part's noise is not float32.
      TypeError: a part is not an `ActionDistribution`.
    """

    def __init__(self, parts: Mapping[str, ActionDistribution] | Sequence[ActionDistribution], **kwargs: Any) -> None:
        named = dict(parts) if isinstance(parts, Mapping) else {str(i): part for i, part in enumerate(parts)}
        if not named or not all(isinstance(name, str) for name in named):
            raise ValueError(f"a product needs parts, and in a dict names that are texts, got {list(named)}")
        for name, part in named.items():
            if not isinstance(part, ActionDistribution):
                raise TypeError(f"{name} must be an ActionDistribution, got {part!r}")
        super().__init__(sum(part.num_outputs for part in named.values()), **kwargs)
        self.is_dict = isinstance(parts, Mapping)
        self.names = sorted(named) if self.is_dict else list(named)
        self.parts = [named[name] for name in self.names]
        self._sizes = tuple(_sizes(name, named[name]) for name in self.names)

    def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
        split = tf.split(outputs, [part.num_outputs for part in self.parts], axis=-1)
        return tf.concat([part.parameters(own) for part, own in zip(self.parts, split, strict=True)], axis=-1)

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        parts = self._each("distribution", self._parameters(parameters))
        return tfp.distributions.Blockwise(parts, dtype_override=parameters.dtype)

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        return tf.add_n(self._each("log_prob", self._parameters(parameters), self._actions(actions)))

    def kl(self, parameters: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        return tf.add_n(self._each("kl", self._parameters(parameters), self._parameters(other)))

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """M is block-diagonal, with a block for each part."""
        return tf.concat(self._each("metric_product", self._parameters(parameters), self._parameters(vectors)), axis=-1)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor | None:
        entropies = self._each("entropy", self._parameters(parameters))
        return None if any(entropy is None for entropy in entropies) else tf.add_n(entropies)

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        drawn = [part.noise(shape, tf.random.fold_in(seed, i)) for i, part in enumerate(self.parts)]
        return tf.concat([tf.reshape(noise, [*shape, -1]) for noise in drawn], axis=-1)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        noises = tf.split(noise, [math.prod(sizes.noise) for sizes in self._sizes], axis=-1)
        noises = [tf.reshape(own, [-1, *sizes.noise]) for own, sizes in zip(noises, self._sizes, strict=True)]
        return self._joined(self._each("sample", self._parameters(parameters), noises), parameters.dtype)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        return self._joined(self._each("mode", self._parameters(parameters)), parameters.dtype)

    def to_environment(self, actions: tf.Tensor) -> Any:
        return self._nest(self._each("to_environment", self._actions(actions)))

    def acting(self) -> Acting:
        parts = [
            PartOfActions(part.acting(), sizes.action, np.dtype(sizes.action_dtype.as_numpy_dtype))
            for part, sizes in zip(self.parts, self._sizes, strict=True)
        ]
        return Parted(tuple(parts), tuple(self.names) if self.is_dict else None)

    def from_environment(self, actions: Any) -> np.ndarray:
        given = [actions[name] for name in self.names] if self.is_dict else actions
        own = [np.asarray(part, np.float32) for part in self._each("from_environment", given)]
        return np.concatenate([part.reshape(len(part), -1) for part in own], axis=-1)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._named(self._each("named_parameters", self._parameters(parameters)))

    @property
    def is_scheduled(self) -> bool:
        return any(part.is_scheduled for part in self.parts)

    def follow_schedule(self, progress: float) -> None:
        for part in self.parts:
            part.follow_schedule(progress)

    def figures(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._named(self._each("figures", self._parameters(parameters)))

    def mirrored(self, actions: Reflection) -> Reflection:
        raise ValueError("mirror: actions of several parts have no mirror; leave the setting out")

    def describe_actions(self) -> dict[str, Any] | None:
        described = [part.describe_actions() for part in self.parts]
        if any(description is None for description in described):
            return None
        spaces = self._nest(described)
        return {"type": "Dict", "spaces": spaces} if self.is_dict else {"type": "Tuple", "spaces": list(spaces)}

    def get_config(self) -> dict[str, Any]:
        parts = [keras.saving.serialize_keras_object(part) for part in self.parts]
        return {**super().get_config(), "names": self.names if self.is_dict else None, "parts": parts}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Product:
        names = config.pop("names")
        parts = [keras.saving.deserialize_keras_object(part) for part in config.pop("parts")]
        return cls(parts if names is None else dict(zip(names, parts, strict=True)), **config)

    def _each(self, method: str, *arguments: Sequence[Any]) -> list[Any]:
        """Call a method of each part with the part's arguments, and return the results."""
        calls: list[Callable[..., Any]] = [getattr(part, method) for part in self.parts]
        return [call(*own) for call, *own in zip(calls, *arguments, strict=True)]

    def _parameters(self, parameters: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(parameters, [sizes.parameters for sizes in self._sizes], axis=-1)

    def _actions(self, actions: tf.Tensor) -> list[tf.Tensor]:
        """Split joint actions into the actions [N, ...] of the parts; integers are cast back to their dtype."""
        split = tf.split(actions, [math.prod(sizes.action) for sizes in self._sizes], axis=-1)
        return [
            tf.cast(
                tf.reshape(own, [-1, *sizes.action]),
                own.dtype if sizes.action_dtype.is_floating else sizes.action_dtype,
            )
            for own, sizes in zip(split, self._sizes, strict=True)
        ]

    def _joined(self, actions: list[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
        flat = [
            tf.reshape(tf.cast(own, dtype), [-1, math.prod(sizes.action)])
            for own, sizes in zip(actions, self._sizes, strict=True)
        ]
        return tf.concat(flat, axis=-1)

    def _nest(self, values: list[Any]) -> Any:
        return dict(zip(self.names, values, strict=True)) if self.is_dict else tuple(values)

    def _named(self, values: list[dict[str, Any]]) -> dict[str, Any]:
        """Merge dicts of the parts; each name is prefixed with the part's name."""
        pairs = zip(self.names, values, strict=True)
        return {f"{part}/{name}": value for part, named in pairs for name, value in named.items()}


def _sizes(name: str, part: ActionDistribution) -> _Sizes:
    """Find the sizes of a part by sampling one row."""
    parameters, noise = part.one_row(), part.noise([1], tf.constant([0, 0]))
    if noise.dtype != tf.float32:
        raise ValueError(f"{name}: the noise of a part must be float32, but {type(part).__name__} has another")
    action = part.sample(parameters, noise)
    return _Sizes(int(parameters.shape[-1]), tuple(noise.shape[1:]), tuple(action.shape[1:]), action.dtype)
