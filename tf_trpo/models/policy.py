"""A policy: a Keras model whose call returns a distribution over actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_trpo.estimation import Moments
from tf_trpo.models.distributions import Distribution, kl_divergence
from tf_trpo.models.mirror_symmetry import MirrorSymmetry, Reflection, checked_mirror, symmetrized, with_mirror
from tf_trpo.models.networks import feature_shape, first_dense_layer, layer_seeds, mlp, output_layer
from tf_trpo.models.normalization import RunningNormalization
from tf_trpo.numerics import flatten, hessian_product_at_minimum, unflatten


class Policy(keras.Model):
    """Observations -> normalisation -> network -> output layer -> distribution parameters -> distribution.

    A subclass says how parameters make a distribution, by `distribution`; any TFP distribution will do
    whose KL is registered and can be differentiated twice at its minimum (that of Laplace cannot: it
    has an absolute value there). It may override the rest: `distribution_parameters` to compute them
    otherwise, `noise` and `sample` to make sampling a plain function of its noise, `to_environment`.

    Args:
      observation_shape: shape of one observation.
      num_outputs: units of the linear output layer.
      network: any keras.Model from [N, *observation_shape] to [N, features]; by default an MLP of
        64-64 tanh units. It is called as at inference: no dropout, and
        statistics such as those of batch normalisation stay as they are.
      normalize_observations: put a `RunningNormalization` in front of the network.
      observation_min_std: its `min_std`.
      function_preserving: let the network's first layer take in what new statistics would change, so that they never
        move the policy; only where that is a Dense layer with a bias, first in a keras.Sequential, or first
        after a Flatten.
      output_gain: gain of the output layer's orthogonal initialiser; small values start near the
        same distribution in every state.
      mirror: a reflection of the environment that the policy respects by its form: what it does in a mirrored
        observation is the mirror image of what it does in the observation. A subclass says by `mirrored_outputs` what
        that is of its outputs; what its `distribution_parameters` adds to those must respect it too.
      seed: makes the initial weights reproducible.
    """

    def __init__(
        self,
        observation_shape: Sequence[int],
        num_outputs: int,
        *,
        network: keras.Model | None = None,
        normalize_observations: bool = True,
        observation_min_std: float = 0.0,
        function_preserving: bool = True,
        output_gain: float = 0.01,
        mirror: MirrorSymmetry | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.observation_shape = tuple(observation_shape)
        self.num_outputs = num_outputs
        self.normalize_observations = normalize_observations
        self.observation_min_std = observation_min_std
        self.function_preserving = function_preserving
        self.output_gain = output_gain
        self.mirror = checked_mirror(mirror, observation_shape)
        if mirror is not None and type(self).mirrored_outputs is Policy.mirrored_outputs:
            raise NotImplementedError(f"{type(self).__name__} must define mirrored_outputs to have a mirror")
        network_seed, output_seed = layer_seeds(seed, 2)
        self.normalization = (
            RunningNormalization(self.observation_shape, min_std=observation_min_std)
            if normalize_observations
            else None
        )
        self.network = mlp(self.observation_shape, seed=network_seed) if network is None else network
        self.output_layer = output_layer(num_outputs, output_gain, output_seed)
        self.output_layer.build(feature_shape(self.network, self.observation_shape))
        self.built = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A subclass with another distribution does not inherit a closed form, or an image, that is not its own."""
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.keys()
        if {"distribution", "divergence"} & own and "metric_product" not in own:
            cls.metric_product = Policy.metric_product  # type: ignore[method-assign]
        for method in ("mirrored_outputs", "log_prob"):
            if "distribution" in own and method not in own:
                setattr(cls, method, getattr(Policy, method))

    def outputs(self, observations: tf.Tensor) -> tf.Tensor:
        """Output layer's values [N, num_outputs] for observations [N, *observation_shape], symmetric with a mirror."""
        return symmetrized(self._network_outputs, observations, self.mirror, self.mirrored_outputs)

    def mirrored_outputs(self, outputs: tf.Tensor, actions: Reflection) -> tf.Tensor:
        """Outputs [N, num_outputs] that make the mirror image of the distribution that the given ones make.

        Args:
          outputs: [N, num_outputs].
          actions: the reflection of an action.
        """
        raise NotImplementedError(f"{type(self).__name__} must define mirrored_outputs")

    def _network_outputs(self, observations: tf.Tensor) -> tf.Tensor:
        if self.normalization is not None:
            observations = self.normalization(observations)
        return self.output_layer(self.network(observations, training=False))

    def update_normalization(self, moments: Moments) -> tf.Tensor:
        """Take in observations by their moments; whether those were finite, or are not needed. Bool scalar."""
        if self.normalization is None:
            return tf.constant(True)
        if self.mirror is not None:
            moments = self.mirror.observations.symmetric(moments)
        layer = first_dense_layer(self.network, self.output_layer) if self.function_preserving else None
        return self.normalization.update(moments, absorbed_by=layer)

    def distribution_parameters(self, observations: tf.Tensor) -> tf.Tensor:
        """Parameters [N, D] of the action distribution: all that the distribution depends on."""
        return self.outputs(observations)

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        """TFP distribution over actions, batch shape [N], from parameters [N, D] of any float type."""
        raise NotImplementedError(f"{type(self).__name__} must define distribution(parameters)")

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Parameters [N, D] by the names that an exported model gives them: here, all as "parameters"."""
        return {"parameters": parameters}

    def call(self, observations: tf.Tensor) -> Distribution:
        """Distribution over actions, batch shape [N], for observations [N, *observation_shape]."""
        return self.distribution(self.distribution_parameters(observations))

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Log-probability, or its density, of each action [N, ...], [N]: what the surrogate's ratios are made of."""
        return self.distribution(parameters).log_prob(actions)

    def divergence(self, parameters: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """Joint KL(parameters || other) for each sample [N], in nats."""
        return kl_divergence(self.distribution(parameters), self.distribution(other))

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """M u [N, D] for each sample, M the Fisher matrix [D, D] of its distribution in its parameters [N, D].

        Here from the divergence, whatever it is, by automatic differentiation; a closed form saves
        tracing and compiling that.
        """
        return hessian_product_at_minimum(self.divergence, parameters, vectors)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Entropy for each sample [N], in nats; NaN if the distribution has none in closed form."""
        try:
            return self.distribution(parameters).entropy()
        except NotImplementedError:
            return tf.fill([tf.shape(parameters)[0]], tf.cast(float("nan"), parameters.dtype))

    @property
    def flat_weights(self) -> tf.Tensor:
        """The trainable weights as one vector [P]."""
        return flatten([variable.value for variable in self.trainable_variables])

    def assign_flat_weights(self, theta: tf.Tensor) -> None:
        """Set the trainable weights from one vector [P]."""
        variables = self.trainable_variables
        for variable, value in zip(variables, unflatten(theta, variables), strict=True):
            variable.assign(value)

    def parameters_at(self, theta: tf.Tensor, observations: tf.Tensor) -> tf.Tensor:
        """Distribution parameters as a pure function of the flat trainable weights theta [P]."""
        variables = self.trainable_variables
        values = unflatten(theta, variables)
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return self.distribution_parameters(observations)

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        """Noise [*shape, ...] that `sample` turns into actions: here, seeds; `sample` uses the first for all.

        Args:
          shape: leading dimensions.
          seed: int32 [2].
        """
        limit = tf.int32.max
        return tf.random.stateless_uniform([*shape, 2], seed, minval=0, maxval=limit, dtype=tf.int32)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Actions [N, ...], a deterministic function of parameters [N, D] and noise [N, ...]."""
        return self.distribution(parameters).sample(seed=noise[0])

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Most likely actions [N, ...]."""
        return self.distribution(parameters).mode()

    def act(self, observations: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Actions [N, ...] for observations [N, ...]: sampled by the noise, or the mode without any."""
        parameters = self.distribution_parameters(observations)
        return self.mode(parameters) if noise is None else self.sample(parameters, noise)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        """What the environment is given for sampled actions: by default, the actions themselves."""
        return actions

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "observation_shape": self.observation_shape,
            "num_outputs": self.num_outputs,
            "network": keras.saving.serialize_keras_object(self.network),
            "normalize_observations": self.normalize_observations,
            "observation_min_std": self.observation_min_std,
            "function_preserving": self.function_preserving,
            "output_gain": self.output_gain,
            "mirror": None if self.mirror is None else self.mirror.get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Policy:
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**with_mirror(config), "network": network})
