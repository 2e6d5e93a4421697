"""Memory: a recurrent cell between the features and the output layer, and the segments that it is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models.networks import layer_seeds
from tf_trpo.numerics import Recurrence, merged

MemoryKind = Literal["gru", "lstm"]
States: TypeAlias = "tuple[Any, ...]"
"""What a memory holds for each of B environments: arrays [B, ...], such as one [B, units] of a GRU, two of an LSTM."""
DEFAULT_UNITS = 64
_LONGEST_SPAN = 128
"""Time constant of the slowest unit at the start, in rows; training can make it longer."""
_ROWS = 3
_MOST_SEEDS = 1000
_OF_CELLS = ("state_size", "get_initial_state")


class Segments(NamedTuple):
    """Rows of environments that a memory goes through in order: S segments of L rows, one environment in each.

    An episode may end inside of a segment, and another one begin there.

    Attributes:
      observations: a nest of arrays [S, L, ...].
      states: of the memory before the first row, arrays [S, ...].
      ends: bool [S, L], the row is the last one of its episode: the memory begins again after it.
      holds: bool [S, L], the row is no part of an episode, such as a pause: the memory stays as it is.
    """

    observations: Any
    states: States
    ends: tf.Tensor
    holds: tf.Tensor

    @property
    def rows(self) -> Any:
        """The observations as a nest of arrays [S * L, ...]."""
        return tf.nest.map_structure(merged, self.observations)


@keras.saving.register_keras_serializable(package="tf_trpo")
class Memory(keras.layers.Layer):
    """A recurrent cell that goes through segments, and begins again where an episode does.

    Args:
      cell: a Keras cell, such as `keras.layers.GRUCell(64)`: called with inputs [N, F] and its states, it gives outputs
        [N, units] and new states. It is called as at inference: no dropout.
      num_features: F.
      **kwargs: of `keras.layers.Layer`.

    Attributes:
      num_outputs: units of the cell's outputs.

    Raises:
      TypeError: it is no such cell.
      ValueError: its outputs for a row depend on other rows, its states are no floats, or the first ones are trained.
    """

    def __init__(self, cell: keras.layers.Layer, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _check_cell(cell)
        self.cell = cell
        self.num_features = num_features
        if not cell.built:
            cell.build((None, num_features))
        self._structure = cell.get_initial_state(batch_size=1)
        self.num_outputs = self._tried()
        self.trace_again()
        self.built = True

    def trace_again(self) -> None:
        """Forget what was traced: the cell may compute something else now."""
        self._recurrence = Recurrence(self._row, self.num_outputs)

    def _tried(self) -> int:
        """Go through a few rows, and give the number of outputs."""
        with tf.GradientTape() as tape:
            states = self.initial(_ROWS)
        if not all(part.dtype.is_floating for part in states):
            raise ValueError("the states of a memory must be floats")
        if any(part is not None for part in tape.gradient(states, self._variables)):
            raise ValueError("the first states of a memory must not be trained: episodes begin with fixed ones")
        features = keras.random.normal([_ROWS, self.num_features], seed=0)
        outputs, _ = self.step(features, states)
        alone, _ = self.step(features[:1], tuple(part[:1] for part in states))
        if not np.allclose(outputs[:1], alone, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise ValueError("a memory must give each row the same outputs alone and in a batch: its cell mixes rows")
        return int(outputs.shape[-1])

    @property
    def _variables(self) -> list[keras.Variable]:
        """The cell's weights, trained or not, of which derivatives can be taken."""
        return [weight for weight in self.cell.weights if tf.as_dtype(weight.dtype).is_floating]

    def initial(self, count: int | tf.Tensor) -> States:
        """Make the states [count, ...] with which episodes begin."""
        return tuple(tf.nest.flatten(self.cell.get_initial_state(batch_size=count)))

    def step(self, features: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """Go through one row of each environment: features [N, F], states [N, ...] -> outputs [N, U], new states."""
        outputs, new = self.cell(features, tf.nest.pack_sequence_as(self._structure, states), training=False)
        return outputs, tuple(tf.nest.flatten(new))

    def call(self, features: tf.Tensor, segments: Segments) -> tf.Tensor:
        """Go through segments.

        Args:
          features: [S * L, F] of the segments' rows.
          segments: where the memory begins, and where episodes do.

        Returns:
          The cell's outputs [S * L, U].
        """
        count, length = segments.ends.shape
        by_time = (
            tf.transpose(tf.reshape(features, [count, length, self.num_features]), [1, 0, 2]),
            tf.transpose(segments.ends),
            tf.transpose(segments.holds),
        )
        outputs, _ = self.unroll(*by_time, segments.states)
        return tf.reshape(tf.transpose(outputs, [1, 0, 2]), [count * length, self.num_outputs])

    def unroll(
        self, features: tf.Tensor, ends: tf.Tensor, holds: tf.Tensor, states: States
    ) -> tuple[tf.Tensor, States]:
        """Go through T rows of B environments.

        Args:
          features: [T, B, F].
          ends, holds: bool [T, B], as of `Segments`.
          states: before the first row, [B, ...].

        Returns:
          The cell's outputs [T, B, U], and the states after each row, [T, B, ...].
        """
        weights = tuple(variable.value for variable in self._variables)
        return self._recurrence(weights, features, states, (ends, holds))

    def _row(self, weights: States, features: tf.Tensor, states: States, marks: States) -> tuple[tf.Tensor, States]:
        """Go through one row as a function of the cell's weights; the marks are `ends` and `holds`, [B]."""
        with keras.StatelessScope(state_mapping=list(zip(self._variables, weights, strict=True))):
            outputs, new = self.step(features, states)
        ends, holds = marks
        triples = zip(new, states, self.initial(features.shape[0]), strict=True)
        return outputs, tuple(chosen(holds, old, chosen(ends, first, after)) for after, old, first in triples)

    def get_config(self) -> dict[str, Any]:
        cell = keras.saving.serialize_keras_object(self.cell)
        return {**super().get_config(), "cell": cell, "num_features": self.num_features}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Memory:
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})


def make_cell(kind: MemoryKind, units: int, seed: int | None) -> keras.layers.Layer:
    """Make a cell of Keras' whose units forget at first within 2 to 128 rows, evenly spread.

    With Keras' own biases, half of what a GRU holds is gone after one row, and with it the gradient that could teach it
    to hold more.

    Args:
      kind: of the cell.
      units: >= 1.
      seed: makes the initial weights reproducible.

    Source:
      Tallec and Ollivier (2018), "Can recurrent neural networks warp time?", section 3 (chrono initialisation).
    """
    kernel, recurrent = layer_seeds(seed, 2)
    initializers = {
        "kernel_initializer": keras.initializers.GlorotUniform(kernel),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=recurrent),
    }
    keep, others = np.log(np.linspace(1, _LONGEST_SPAN - 1, units)), np.zeros(units)
    if kind == "gru":
        # For the inputs and for the states: update gate, reset gate, candidate.
        bias = [np.concatenate([keep, others, others]).tolist(), np.zeros(3 * units).tolist()]
        return keras.layers.GRUCell(units, bias_initializer=keras.initializers.Constant(bias), **initializers)
    # Input gate, forget gate, candidate, output gate.
    bias = np.concatenate([-keep, keep, others, others]).tolist()
    initializers["bias_initializer"] = keras.initializers.Constant(bias)
    return keras.layers.LSTMCell(units, unit_forget_bias=False, **initializers)


def like(cell: keras.layers.Layer, seed: int | None) -> keras.layers.Layer:
    """Make a cell of the same settings with new weights, which the seed makes reproducible.

    Raises:
      TypeError: it is no Keras cell.
    """
    _check_cell(cell)
    return type(cell).from_config(_seeded(cell.get_config(), iter(layer_seeds(seed, _MOST_SEEDS))))


def _seeded(config: Any, seeds: Iterator[int | None]) -> Any:
    """Copy a config with a seed of its own for each initialiser and each cell in it."""
    if isinstance(config, dict):
        return {key: next(seeds) if key == "seed" else _seeded(value, seeds) for key, value in config.items()}
    return [_seeded(value, seeds) for value in config] if isinstance(config, list | tuple) else config


def _check_cell(cell: Any) -> None:
    has_states = isinstance(cell, keras.layers.Layer) and all(hasattr(cell, name) for name in _OF_CELLS)
    # Keras' layers of a cell, such as GRU, have the methods of one.
    if not has_states or isinstance(cell, keras.layers.RNN):
        raise TypeError(f"memory must be 'gru', 'lstm' or a Keras cell such as keras.layers.GRUCell(64), not {cell!r}")


def chosen(condition: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    """Choose by a condition [B] between arrays [B, ...]."""
    return tf.where(tf.reshape(condition, [-1] + [1] * (yes.shape.rank - 1)), yes, no)
