"""Check a caller's own network before it is used, and refuse networks that cannot learn."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models.absorbing import affine_rows
from tf_trpo.models.networks import feature_shape
from tf_trpo.models.structure import check_unregularized, layers_of
from tf_trpo.spaces import PartSpec, Spec, map_parts, parts, without_masks

_logger = logging.getLogger(__name__)
_ROWS = 8
_OF_BYTES = 0.1
"""Factors of Rescaling layers below this one are for bytes, such as 1 / 255 and 1 / 127.5."""


def check_network(name: str, network: keras.Model, spec: Spec, *, normalize: bool) -> bool | list[str]:
    """Check a network on a few random rows, and find the vectors of the observation to normalise for it.

    A vector is not normalised in two cases. The features may have no derivative by it, since the network reads it as
    integers, for example by an Embedding. Or weights that are frozen, or a `Normalization` layer with statistics, read
    it, before a layer of `affine_rows`: they expect it in its own unit. The latter is logged, and so is a Rescaling
    layer that divides an image by 255, since the encoder has divided it already.

    Args:
      name: name of the argument for the network, for messages.
      network: model from the encoder's inputs to features [N, F]; it is built if necessary.
      spec: spec of one observation.
      normalize: whether to normalise vectors.

    Returns:
      The names (see `parts`) of the vectors to normalise; True for all, False for none.

    Raises:
      TypeError: the network is not a keras.Model.
      ValueError: the features of a row are random or depend on the other rows, a trainable weight is not float32 or has
        no derivative, the network has a regularizer or a constraint, or an Embedding reads some elements of a vector
        that would be normalised.
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
    with tf.GradientTape(persistent=True) as tape, _noted_calls(network) as calls:
        tape.watch(inputs)
        features = network(inputs, training=False)
    _check_rows(name, network, inputs, features)
    try:
        sources = [[variable.value for variable in variables], tf.nest.flatten(inputs)]
        of_weights, of_inputs = tape.gradient(
            features, sources, output_gradients=tf.cast(drawn(*features.shape), features.dtype)
        )
        read = {kind: _read(tape, tensors, sources[1]) for kind, tensors in calls.items()}
    except LookupError as error:
        raise ValueError(f"{name} cannot be differentiated: {error}") from error
    for variable, gradient in zip(variables, of_weights, strict=True):
        if gradient is None:
            raise ValueError(
                f"{name} has no derivative by {variable.path}, which could not learn: an operation behind it, such as "
                "argmax or round, has none; set trainable = False for a variable that must not learn"
            )
    named = [(path, part) for path, part in parts(spec) if part.kind != "mask"]
    _warn_of_rescaling(name, named, read["rescaling"])
    # Weights that absorb statistics have no units of their own, whatever reads their results.
    absorbing = affine_rows(network, None, spec)
    own_units = [is_read and rows is None for is_read, rows in zip(read["own units"], absorbing, strict=True)]
    return normalize and _normalized(name, network, named, of_inputs, own_units)


def _check_rows(name: str, network: keras.Model, inputs: Any, features: tf.Tensor) -> None:
    def differ(others: Any) -> bool:
        return not np.allclose(features, others, rtol=1e-3, atol=1e-3 * np.abs(features).max(), equal_nan=True)

    if differ(network(inputs, training=False)):
        raise ValueError(
            f"{name} must give the same rows the same features in each call, and draws random numbers: leave them out, "
            "since the action distribution has all the randomness of a policy"
        )
    rows = [tf.nest.map_structure(lambda part, row=row: part[row : row + 1], inputs) for row in range(_ROWS)]
    if differ(np.concatenate([network(row, training=False) for row in rows])):
        raise ValueError(f"{name} must give each row the same features alone and in a batch: it mixes rows")


@contextlib.contextmanager
def _noted_calls(network: keras.Model) -> Iterator[dict[str, list[Any]]]:
    """Note the inputs of layers that expect numbers in their own units, and of Rescaling layers, by these two kinds."""
    calls: dict[str, list[Any]] = {"own units": [], "rescaling": []}

    def noted(layer: keras.layers.Layer, inputs: list[Any]) -> Any:
        call = layer.call

        def noted_call(*arguments: Any, **options: Any) -> Any:
            inputs.append((arguments, options))
            return call(*arguments, **options)

        return noted_call

    with contextlib.ExitStack() as stack:
        for layer in layers_of(network):
            kind = "own units" if _has_own_units(layer) else "rescaling" if _is_for_bytes(layer) else None
            if kind is not None:
                layer.call = noted(layer, calls[kind])
                stack.callback(delattr, layer, "call")
        yield calls


def _has_own_units(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.Normalization):
        return bool(np.any(layer.mean != 0) or np.any(layer.variance != 1))
    return bool(layer.weights) and not layer.trainable


def _is_for_bytes(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Rescaling) and bool(np.max(np.abs(layer.scale)) < _OF_BYTES)


def _read(tape: tf.GradientTape, calls: list[Any], inputs: list[tf.Tensor]) -> list[bool]:
    """Return for each of the network's inputs whether a layer with noted calls reads it."""
    tensors = [each for each in tf.nest.flatten(calls) if tf.is_tensor(each) and each.dtype.is_floating]
    return [by is not None for by in tape.gradient(tensors, inputs)] if tensors else [False] * len(inputs)


def _warn_of_rescaling(name: str, named: list[tuple[str, PartSpec]], rescaled: list[bool]) -> None:
    for (path, part), is_rescaled in zip(named, rescaled, strict=True):
        if part.kind == "image" and is_rescaled:
            _logger.warning(
                "%s divides %s by 255 again: it gets images from 0 to 1, so leave its Rescaling layer out",
                name,
                path or "the image",
            )


def _normalized(
    name: str,
    network: keras.Model,
    named: list[tuple[str, PartSpec]],
    derivatives: Sequence[tf.Tensor | None],
    in_own_units: list[bool],
) -> bool | list[str]:
    """Choose the vectors to normalise from the derivatives by the inputs [N, ...] of all parts except masks."""
    every = zip(named, derivatives, in_own_units, strict=True)
    vectors = [(path, by, is_own) for (path, part), by, is_own in every if part.kind == "vector"]
    own = [path or "observations" for path, by, is_own in vectors if is_own and by is not None]
    if own:
        _logger.warning(
            "%s has frozen weights or a Normalization layer, which expect numbers in their own units: not normalised: "
            "%s; normalize_observations=False says so, too",
            name,
            ", ".join(own),
        )
    chosen = [(path, by) for path, by, is_own in vectors if not is_own and by is not None]
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
