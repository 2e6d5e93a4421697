"""Check a caller's own network before it is used, and refuse networks that cannot learn."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models.networks import feature_shape
from tf_trpo.models.structure import check_unregularized, layers_of
from tf_trpo.spaces import Spec, map_parts, parts, without_masks

_ROWS = 8


def check_network(name: str, network: keras.Model, spec: Spec, *, normalize: bool) -> bool | list[str]:
    """Check a network on a few random rows, and find the vectors of the observation to normalise for it.

    A vector is not normalised if the features have no derivative by it, since the network reads it as integers, for
    example by an Embedding.

    Args:
      name: name of the argument for the network, for messages.
      network: model from the encoder's inputs to features [N, F]; it is built if necessary.
      spec: spec of one observation.
      normalize: whether to normalise vectors.

    Returns:
      The names (see `parts`) of the vectors to normalise; True for all, False for none.

    Raises:
      TypeError: the network is not a keras.Model.
      ValueError: the features of a row depend on the other rows, a trainable weight is not float32 or has no
        derivative, the network has a regularizer or a constraint, or an Embedding reads some elements of a vector that
        would be normalised.
    """
    if not isinstance(network, keras.Model):
        raise TypeError(f"{name} must be a keras.Model, got {network!r}: keras.Sequential([...]) makes one of layers")
    feature_shape(network, spec)
    check_unregularized(name, network)
    for weight in network.trainable_variables:
        if weight.dtype != "float32":
            raise ValueError(f"{name} must learn in float32, and {weight.path} is {weight.dtype}")
    random = np.random.default_rng(0)

    def drawn(*shape: int) -> tf.Tensor:
        # In [0, 1), since an Embedding takes nonnegative numbers only.
        return tf.constant(random.random(shape), tf.float32)

    inputs = without_masks(spec, map_parts(lambda part: drawn(_ROWS, *part.input_shape), spec))
    variables = network.trainable_variables
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        features = network(inputs, training=False)
    rows = [tf.nest.map_structure(lambda part, row=row: part[row : row + 1], inputs) for row in range(_ROWS)]
    alone = np.concatenate([network(row, training=False) for row in rows])
    if not np.allclose(features, alone, rtol=1e-3, atol=1e-3 * np.abs(features).max(), equal_nan=True):
        raise ValueError(f"{name} must give each row the same features alone and in a batch: it mixes rows")
    try:
        sources = [[variable.value for variable in variables], tf.nest.flatten(inputs)]
        of_weights, of_inputs = tape.gradient(
            features, sources, output_gradients=tf.cast(drawn(*features.shape), features.dtype)
        )
    except LookupError as error:
        raise ValueError(f"{name} cannot be differentiated: {error}") from error
    for variable, gradient in zip(variables, of_weights, strict=True):
        if gradient is None:
            raise ValueError(
                f"{name} has no derivative by {variable.path}, which could not learn: an operation behind it, such as "
                "argmax or round, has none; set trainable = False for a variable that must not learn"
            )
    return normalize and _normalized(name, network, spec, of_inputs)


def _normalized(
    name: str, network: keras.Model, spec: Spec, derivatives: Sequence[tf.Tensor | None]
) -> bool | list[str]:
    """Choose the vectors to normalise from the derivatives by the inputs [N, ...] of all parts except masks."""
    inputs = [(path, part) for path, part in parts(spec) if part.kind != "mask"]
    vectors = [(path, by) for (path, part), by in zip(inputs, derivatives, strict=True) if part.kind == "vector"]
    chosen = [(path, by) for path, by in vectors if by is not None]
    has_embedding = any(isinstance(layer, keras.layers.Embedding) for layer in layers_of(network))
    for path, by in chosen:
        unused = np.flatnonzero(~np.any(tf.convert_to_tensor(by), axis=0))
        if has_embedding and unused.size:
            raise ValueError(
                f"{name} reads the elements {unused[:9].tolist()} of {path or 'the observation'} as whole numbers, as "
                "by its Embedding, and others as numbers: set normalize_observations=False, or make them two entries "
                "of a Dict"
            )
    return len(chosen) == len(vectors) or [path for path, _ in chosen]
