"""Memory: a recurrent cell between the features and the output layer, and the segments on which it is trained."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.models.cells import check_cell
from tf_trpo.models.structure import check_unregularized, layers_of
from tf_trpo.numerics import Recurrence, merged

States: TypeAlias = "tuple[Any, ...]"
"""A memory's states for B environments: arrays [B, ...], for example one [B, units] for a GRU, two for an LSTM."""
_ROWS = 3


class Segments(NamedTuple):
    """Sequences of rows for a memory: S segments of L consecutive rows of one environment each.

    A segment may contain the end of an episode and the beginning of the next one.

    Attributes:
      observations: a nest of arrays [S, L, ...].
      states: the memory's states before the first row, arrays [S, ...].
      ends: bool [S, L], whether the row is the last one of its episode, after which the memory is reset.
      holds: bool [S, L], whether the row is not part of an episode, such as a pause: the memory does not change.
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
    """A recurrent cell that is unrolled over segments, and is reset at the beginning of each episode.

    Args:
      cell: a Keras cell, such as `keras.layers.GRUCell(64)`: a function from inputs [N, F] and states to outputs
        [N, units] and new states. It is called in inference mode: no dropout.
      num_features: number of features F.
      **kwargs: arguments of `keras.layers.Layer`, such as the dtype, which the cell must have too.

    Attributes:
      num_outputs: number of the cell's outputs.

    Raises:
      TypeError: the cell is not a Keras cell.
      ValueError: the cell computes in another dtype, has a regularizer or a constraint, mixes rows, is random or counts
        its calls, or its initial states are trainable; or its outputs or states have a wrong shape or dtype, or are not
        finite.
    """

    def __init__(self, cell: keras.layers.Layer, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_cell(cell)
        self.cell = cell
        self.num_features = num_features
        # Before building, which fails in some dtypes, and after it, because it adds weights.
        self._check_settings()
        if not cell.built:
            cell.build((None, num_features))
            self._check_settings()
        self._structure = _first_states(cell, 1)
        self.num_outputs = self._tried()
        self.trace_again()
        self.built = True

    def trace_again(self) -> None:
        """Discard the traced functions; needed if the cell may compute something else now."""
        self._recurrence = Recurrence(self._row, self.num_outputs)

    def _check_settings(self) -> None:
        found = {layer.compute_dtype for layer in layers_of(self.cell)} | {each.dtype for each in self._variables}
        for other in found - {self.compute_dtype}:
            raise ValueError(f"the cell of a memory must compute in {self.compute_dtype}, not in {other}")
        check_unregularized("the cell of a memory", self.cell)

    def _tried(self) -> int:
        """Check the cell in two steps of a few rows, and return the number of its outputs."""
        self._check_first_states()
        features = keras.random.normal([2, _ROWS, self.num_features], dtype=self.compute_dtype, seed=0)
        num_outputs = self._checked_outputs(features[0])
        found = self._results(features)
        if not all(np.isfinite(part).all() for part in found):
            raise ValueError("the cell of a memory gives outputs or states that are not finite")
        if not _agree(found, self._results(features)):
            raise ValueError(
                "the cell of a memory must give the same for the same inputs and states: it is random, or counts calls"
            )
        for row in (slice(number, number + 1) for number in range(_ROWS)):
            if not _agree([part[row] for part in found], self._results(features[:, row])):
                raise ValueError(
                    "a memory must give each row the same outputs and states alone and in a batch: its cell mixes rows"
                )
        self._check_any_count()
        return num_outputs

    def _check_any_count(self) -> None:
        """Trace a step whose number of rows is unknown, as in exported models."""

        def step(features: tf.Tensor) -> Any:
            return self.step(features, self.initial(tf.shape(features)[0]))

        inputs = tf.TensorSpec([None, self.num_features], self.compute_dtype)
        try:
            tf.function(step, input_signature=[inputs], autograph=False).get_concrete_function()
        except (TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"the cell of a memory must work if the number of rows is not known before, and fails: {error}"
            ) from error

    def _check_first_states(self) -> None:
        with tf.GradientTape() as tape:
            states = self.initial(_ROWS)
        if not states:
            raise ValueError("the cell of a memory must have a state")
        if any(part.shape[:1] != [_ROWS] or part.dtype != self.compute_dtype or not tf.size(part) for part in states):
            raise ValueError(
                f"the first states of {_ROWS} episodes must be {self.compute_dtype} arrays [{_ROWS}, ...], and the "
                f"cell of the memory gives {_described(states)}"
            )
        if any(part is not None for part in tape.gradient(states, self._variables)):
            raise ValueError("the first states of a memory must not be trained: episodes begin with fixed ones")

    def _checked_outputs(self, features: tf.Tensor) -> int:
        """Check the form of one step's outputs and new states, and return the number of outputs."""
        states = self.initial(_ROWS)
        try:
            outputs, after = self.step(features, states)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"the cell of a memory fails, or does not return outputs and new states: {error}"
            ) from error
        outputs = tf.convert_to_tensor(outputs)
        if _described(after) != _described(states):
            raise ValueError(
                f"the cell of a memory must give new states like those that it gets: it gets {_described(states)}, and "
                f"gives {_described(after)}"
            )
        if len(outputs.shape) != 2 or outputs.dtype != self.compute_dtype or not outputs.shape[1]:
            raise ValueError(
                f"the cell of a memory must give {self.compute_dtype} outputs [N, U], U at least 1, and for N = "
                f"{_ROWS} it gives {_described([outputs])}"
            )
        return int(outputs.shape[1])

    def _results(self, features: tf.Tensor) -> list[tf.Tensor]:
        """Compute all outputs and new states of rows [T, N, F], which begin with the initial states.

        The initial states of all rows are equal. In the second step, a cell that mixes the states of rows is found too.
        """
        states, found = self.initial(features.shape[1]), []
        for rows in features:
            outputs, states = self.step(rows, states)
            found += [outputs, *states]
        return found

    @property
    def _variables(self) -> list[keras.Variable]:
        """The cell's float weights, trainable or not."""
        return [weight for weight in self.cell.weights if tf.as_dtype(weight.dtype).is_floating]

    def initial(self, count: int | tf.Tensor) -> States:
        """Return the initial states of episodes, [count, ...]."""
        return tuple(map(tf.convert_to_tensor, tf.nest.flatten(_first_states(self.cell, count))))

    def step(self, features: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """Process one row of each environment: features [N, F], states [N, ...] -> outputs [N, U], new states."""
        outputs, new = self.cell(features, tf.nest.pack_sequence_as(self._structure, states), training=False)
        return outputs, tuple(map(tf.convert_to_tensor, tf.nest.flatten(new)))

    def call(self, features: tf.Tensor, segments: Segments) -> tf.Tensor:
        """Unroll the cell over segments.

        Args:
          features: features of the segments' rows, [S * L, F].
          segments: the segments, for their states and the ends of episodes.

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
        """Unroll the cell over T rows of B environments.

        Args:
          features: [T, B, F].
          ends, holds: bool [T, B], as in `Segments`.
          states: states before the first row, [B, ...].

        Returns:
          The cell's outputs [T, B, U], and the states after each row, [T, B, ...].
        """
        weights = tuple(variable.value for variable in self._variables)
        return self._recurrence(weights, features, states, (ends, holds))

    def _row(self, weights: States, features: tf.Tensor, states: States, marks: States) -> tuple[tf.Tensor, States]:
        """Process one row as a pure function of the cell's weights; the marks are `ends` and `holds`, [B]."""
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


def _first_states(cell: keras.layers.Layer, count: int | tf.Tensor) -> Any:
    """Make a list of a cell's states for the start of episodes, zeros by default, as keras.layers.RNN does."""
    if hasattr(cell, "get_initial_state"):
        states = cell.get_initial_state(batch_size=count)
        return list(states) if tf.nest.is_nested(states) else [states]
    sizes = [cell.state_size] if isinstance(cell.state_size, numbers.Integral) else cell.state_size
    return [tf.zeros([count, int(size)], cell.compute_dtype) for size in sizes]


def _agree(found: Sequence[tf.Tensor], others: Sequence[tf.Tensor]) -> bool:
    return all(np.allclose(one, other, rtol=1e-3, atol=1e-4) for one, other in zip(found, others, strict=True))


def _described(arrays: Sequence[tf.Tensor]) -> str:
    return ", ".join(f"{part.dtype.name} {part.shape.as_list()}" for part in arrays) or "none"


def chosen(condition: tf.Tensor, yes: tf.Tensor, no: tf.Tensor) -> tf.Tensor:
    """Select rows of arrays [B, ...] by a condition [B]."""
    return tf.where(tf.reshape(condition, [-1] + [1] * (yes.shape.rank - 1)), yes, no)
