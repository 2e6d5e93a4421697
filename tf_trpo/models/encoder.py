"""The encoder: maps observations to the outputs from which an action distribution or a value is computed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.estimation import Moments, weighted_moments
from tf_trpo.models.absorbing import AffineRows, affine_rows
from tf_trpo.models.image_scale import ImageScale, evenly, mean_square
from tf_trpo.models.memory import Memory, Segments, States
from tf_trpo.models.networks import default_network, feature_shape, layer_seeds
from tf_trpo.models.normalization import RunningNormalization, Statistics
from tf_trpo.models.own_network import check_network
from tf_trpo.spaces import PartSpec, Spec, as_spec, flatten_to, from_json, map_parts, parts, to_json, without_masks

_WITHOUT_STATES = "the model has a memory, whose states are missing: call an agent's `predict` or a policy's `step`"
_WITHOUT_MEMORY = "`Segments` are given, and the model has no memory for their states"


@keras.saving.register_keras_serializable(package="tf_trpo")
class Encoder(keras.layers.Layer):
    """Observations -> inputs -> network -> (memory ->) output layer -> outputs [N, num_outputs].

    The inputs have the structure of the observations: vectors are normalised, images of bytes are divided by the
    space's highest byte, choices become one-hot vectors, and an action mask is left out. Images and choices are scaled
    (`scale_inputs`), so that the inputs are as large as normalised numbers. With a memory, the observations are
    `Segments` of S times L = N rows, or one row of each environment with the memory's states (`step`).

    Args:
      observations: spec of one observation, or the shape of a float32 vector.
      num_outputs: units of the linear output layer.
      network: any keras.Model from the inputs to features [N, F]; by default `default_network`. It is called in
        inference mode: no dropout, and statistics such as those of batch normalisation are not updated. Networks that
        `check_network` refuses are not allowed.
      normalize_observations: which vectors are normalised, each by a `RunningNormalization`: none, the parts with the
        given names (see `parts`), or all; with a network of your own, all that `check_network` finds.
      scale_inputs: whether images have an `ImageScale`, and one-hot vectors of n choices the length sqrt(n); None: with
        the default network only, because other networks expect images in [0, 1], and ones. Parts that
        `normalize_observations` leaves out are not scaled.
      observation_min_std: `min_std` of the normalisation.
      function_preserving: adjust the first layer when statistics change, so that the outputs stay the same. This has an
        effect for the vectors whose weights `affine_rows` finds, as in the default network.
      output_gain: gain of the output layer's orthogonal initialiser, >= 0. With 0 all initial outputs are 0, so that
        the first statistics do not change them.
      cell: a Keras cell; if given, the encoder has a `Memory` between the network and the output layer.
      seed: seed of the initial weights.
      network_name: name of the network in messages; None if it needs no check, since it was checked before.
      **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(
        self,
        observations: Spec | Sequence[int],
        num_outputs: int,
        *,
        network: keras.Model | None = None,
        normalize_observations: bool | Sequence[str] = True,
        scale_inputs: bool | None = None,
        observation_min_std: float = 0.0,
        function_preserving: bool = True,
        output_gain: float = 0.0,
        cell: keras.layers.Layer | None = None,
        seed: int | None = None,
        network_name: str | None = "network",
        **kwargs: Any,
    ) -> None:
        # With autocast, Keras would cast observations to float32 before their mean is subtracted.
        super().__init__(autocast=False, **kwargs)
        self.spec = as_spec(observations)
        self.num_outputs = num_outputs
        if network is not None and network_name is not None:
            is_open = normalize_observations is True
            found = check_network(network_name, network, self.spec, normalize=is_open)
            normalize_observations = found if is_open else normalize_observations
        self.normalize_observations = normalize_observations
        self.observation_min_std = observation_min_std
        self.function_preserving = function_preserving
        self.output_gain = output_gain
        network_seed, output_seed = layer_seeds(seed, 2)
        named = dict(parts(self.spec))
        chosen = named.keys() if isinstance(normalize_observations, bool) else set(normalize_observations)
        if isinstance(normalize_observations, str) or chosen - named.keys():
            known = ", ".join(map(repr, named))
            raise ValueError(
                f"normalize_observations must be true, false, or some of the observation's parts {known}, got "
                f"{normalize_observations!r}"
            )
        self._is_normalized = [
            bool(normalize_observations) and part.kind == "vector" and name in chosen for name, part in named.items()
        ]
        self.normalization = [
            RunningNormalization(part.shape, min_std=observation_min_std, resolution=_resolution(part))
            for part, is_normalized in zip(named.values(), self._is_normalized, strict=True)
            if is_normalized
        ]
        """The normalisation of each normalised vector, in the order of `parts`; empty without normalisation."""
        self.scale_inputs = network is None if scale_inputs is None else scale_inputs
        self._is_scaled = [bool(self.scale_inputs and normalize_observations) and name in chosen for name in named]
        self.image_scales = [
            ImageScale() if is_scaled and part.kind == "image" else None
            for part, is_scaled in zip(named.values(), self._is_scaled, strict=True)
        ]
        """The scale of each part; None for parts that are no images, and without scales."""
        self.network = default_network(self.spec, seed=network_seed) if network is None else network
        initializer = keras.initializers.Orthogonal(gain=output_gain, seed=output_seed)
        self.output_layer = keras.layers.Dense(num_outputs, kernel_initializer=initializer)
        num_features = int(feature_shape(self.network, self.spec)[1] or 0)
        self.memory = None if cell is None else Memory(cell, num_features)
        self.output_layer.build((None, num_features if self.memory is None else self.memory.num_outputs))
        self.built = True

    def call(self, observations: Any) -> tf.Tensor:
        return self.from_centred(self.centred(observations))

    def centred(self, observations: Any) -> Any:
        """Subtract the means of normalised vectors, giving float32; other parts stay unchanged.

        The observations of `Segments` become rows [N, ...].
        """
        if isinstance(observations, Segments):
            return observations._replace(observations=self.centred(observations.rows))
        layers = iter(self.normalization_by_part)
        return map_parts(
            lambda _, rows: rows if (layer := next(layers)) is None else layer.centred(rows), self.spec, observations
        )

    def from_centred(self, observations: Any) -> tf.Tensor:
        """Compute the outputs from the result of `centred`."""
        segments = isinstance(observations, Segments)
        if segments != (self.memory is not None):
            raise ValueError(_WITHOUT_MEMORY if segments else _WITHOUT_STATES)
        if self.memory is None:
            return self.output_layer(self.features(observations))
        return self.output_layer(self.memory(self.features(observations.observations), observations))

    def initial_states(self, count: int | tf.Tensor) -> States:
        """Return the memory's initial states of episodes, [count, ...]; empty without a memory."""
        return () if self.memory is None else self.memory.initial(count)

    def step(self, observations: Any, states: States) -> tuple[tf.Tensor, States]:
        """Compute the outputs, and the memory's new states [N, ...], for one row of each of N environments.

        Args:
          observations: result of `centred` for a nest of arrays [N, ...].
          states: the memory's states before the row, [N, ...]; empty without a memory.
        """
        if self.memory is None:
            return self.from_centred(observations), states
        if not states:
            raise ValueError(_WITHOUT_STATES)
        outputs, states = self.memory.step(self.features(observations), states)
        return self.output_layer(outputs), states

    def features(self, observations: Any) -> tf.Tensor:
        """Compute the network's features [N, F] from the result of `centred` for a nest of arrays [N, ...]."""
        layers = zip(self.normalization_by_part, self._is_scaled, self.image_scales, strict=True)

        def read(part: PartSpec, rows: tf.Tensor) -> tf.Tensor:
            normalization, is_scaled, image_scale = next(layers)
            if normalization is not None:
                return normalization.scaled(rows)
            inputs = _read(part, rows, is_scaled=is_scaled)
            return inputs if image_scale is None else image_scale(inputs)

        inputs = map_parts(read, self.spec, observations)
        return self.network(without_masks(self.spec, inputs), training=False)

    def moments(self, observations: Any, weights: tf.Tensor, count: tf.Tensor) -> list[Moments]:
        """Compute the moments of each normalised vector, and then the mean square of each scaled image, as a mean.

        Args:
          observations: a nest of arrays [N, ...].
          weights: [N], with sum 1.
          count: number of samples, scalar.
        """
        weights, count = tf.cast(weights, tf.float64), tf.cast(count, tf.float64)
        of_parts = flatten_to(self.spec, observations), parts(self.spec), self._is_normalized, self.image_scales
        rows = list(zip(*of_parts, strict=True))
        vectors = [tf.cast(vector, tf.float64) for vector, _, is_normalized, _ in rows if is_normalized]
        images = [
            mean_square(_read(part, evenly(image), is_scaled=True))
            for image, (_, part), _, scale in rows
            if scale is not None
        ]
        return [
            *(Moments(*weighted_moments(vector, weights), count) for vector in vectors),
            *(Moments(square, tf.zeros_like(square), count) for square in images),
        ]

    def begin_normalization(self, moments: list[Moments]) -> list[Statistics]:
        """Compute the statistics with new observations; apply the first ones at once if the outputs do not change.

        The outputs do not change if the output layer is 0, as before any training, or if weights absorb the change.
        Otherwise first statistics are left out, so that observations are never normalised under weights that were
        trained without statistics. The states of a memory are not computed again with the first statistics.

        Args:
          moments: of the new observations, as returned by `moments`.

        Returns:
          The statistics for `update_normalization`.
        """
        free, count = self._is_free(), len(self.normalization)
        vectors, images = moments[:count], moments[count:]
        for scale, part in zip(filter(None, self.image_scales), images, strict=True):
            scale.begin(part.mean, free)
        return [
            normalization.begin(part, free, absorbed_by=rows)
            for normalization, part, rows in zip(self.normalization, vectors, self.absorbing_rows(), strict=True)
        ]

    def update_normalization(self, statistics: list[Statistics]) -> tf.Tensor:
        """Apply the statistics that `begin_normalization` returned.

        Returns:
          Bool scalar: whether all moments were finite, or were not needed.
        """
        free = self._is_free()
        absorbing = self.absorbing_rows() if self.function_preserving else [None] * len(self.normalization)
        sound = [
            normalization.update(part, absorbed_by=rows, free=free)
            for normalization, part, rows in zip(self.normalization, statistics, absorbing, strict=True)
        ]
        return functools.reduce(tf.logical_and, sound) if sound else tf.constant(True)

    def _is_free(self) -> tf.Tensor:
        """Return whether the outputs do not depend on the observations, since the output layer is 0."""
        return tf.reduce_all(tf.equal(self.output_layer.kernel.value, 0.0))

    def absorbing_rows(self) -> list[AffineRows | None]:
        """Find the weights that can absorb a change of statistics, for each normalised vector; None if there are none.

        See `affine_rows`.
        """
        after = self.output_layer if self.memory is None else self.memory.cell
        rows = iter(affine_rows(self.network, after, self.spec))
        of_parts = [None if part.kind == "mask" else next(rows) for _, part in parts(self.spec)]
        return [own for own, is_normalized in zip(of_parts, self._is_normalized, strict=True) if is_normalized]

    @property
    def normalization_by_part(self) -> list[RunningNormalization | None]:
        """The normalisation of each part, in the order of `parts`; None for parts that are not normalised."""
        layers = iter(self.normalization)
        return [next(layers) if is_normalized else None for is_normalized in self._is_normalized]

    def get_config(self) -> dict[str, Any]:
        of_inputs = ("normalize_observations", "scale_inputs", "observation_min_std", "function_preserving")
        return {
            **super().get_config(),
            "observations": to_json(self.spec),
            "network": keras.saving.serialize_keras_object(self.network),
            "cell": self.memory and keras.saving.serialize_keras_object(self.memory.cell),
            **{name: getattr(self, name) for name in ("num_outputs", *of_inputs, "output_gain")},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Encoder:
        layers = {name: keras.saving.deserialize_keras_object(config.get(name)) for name in ("network", "cell")}
        return cls(**{**config, "observations": from_json(config["observations"]), **layers}, network_name=None)


def _read(part: PartSpec, rows: tf.Tensor, *, is_scaled: bool) -> tf.Tensor:
    """Convert rows [N, *shape] of a part to rows of the network's input, with the size of images as it is."""
    if part.kind == "mask":
        return rows
    if part.kind == "image":
        return tf.cast(rows, tf.float32) / float(part.high)
    if part.kind != "one-hot":
        return tf.cast(rows, tf.float32)
    numbers = tf.reshape(tf.cast(rows, tf.int32), [-1, len(part.sizes)])
    choices = zip(part.starts, part.sizes, strict=True)
    # Over equally likely choices, each input then has a mean square of 1, as a normalised number has. With ones it
    # would be 1 / n, and the damping would outweigh the Fisher matrix of the choices' weights.
    columns = [
        tf.one_hot(numbers[:, i] - start, size, size**0.5 if is_scaled else 1.0)
        for i, (start, size) in enumerate(choices)
    ]
    return tf.concat(columns, axis=-1)


def _resolution(part: PartSpec) -> float:
    """Return the relative rounding error of a part's numbers."""
    dtype = np.dtype(part.dtype)
    return 4.0 * float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0
