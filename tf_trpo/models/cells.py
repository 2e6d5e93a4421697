"""The recurrent cells of memories: of a named kind, or like a cell that is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tf_trpo.models.networks import layer_seeds
from tf_trpo.models.settings import MemoryKind

DEFAULT_UNITS, DEFAULT_SPAN = 64, 2.0
_SHORTEST = 1.1
"""Initial time constant of the fastest unit, in rows."""
_MOST_SEEDS = 1000


def make_cell(kind: MemoryKind, units: int, seed: int | None, *, span: float = DEFAULT_SPAN) -> keras.layers.Layer:
    """Make a Keras cell whose units have initial time constants from 1.1 rows to `span`, evenly spaced.

    A unit whose time constant is t keeps 1 - 1 / t of its state in each row. Slow units keep a cue, and the gradient
    from which its use is learned. But they also react slowly: the outputs of a memory whose units are mostly slow
    hardly depend on the present row.

    Args:
      kind: kind of the cell.
      units: number of units, >= 1.
      seed: seed of the initial weights.
      span: initial time constant of the slowest unit, in rows, >= 2; training can change all of them.

    Source:
      Tallec and Ollivier (2018), "Can recurrent neural networks warp time?" (chrono initialisation).
    """
    kernel, recurrent = layer_seeds(seed, 2)
    initializers = {
        "kernel_initializer": keras.initializers.GlorotUniform(kernel),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=recurrent),
    }
    # The gate that keeps 1 - 1 / t is the sigmoid of log(t - 1).
    keep, others = np.log(np.linspace(span - 1.0, _SHORTEST - 1.0, units)), np.zeros(units)
    if kind == "gru":
        # Two rows, for the inputs and for the states; each has update gate, reset gate, candidate.
        bias = [np.concatenate([keep, others, others]).tolist(), np.zeros(3 * units).tolist()]
        return keras.layers.GRUCell(units, bias_initializer=keras.initializers.Constant(bias), **initializers)
    # Input gate, forget gate, candidate, output gate.
    bias = np.concatenate([-keep, keep, others, others]).tolist()
    initializers["bias_initializer"] = keras.initializers.Constant(bias)
    return keras.layers.LSTMCell(units, unit_forget_bias=False, **initializers)


def initial_span(cell: keras.layers.Layer) -> float | None:
    """Return the span of a cell that `make_cell` has made, whatever it has learned since; None for another cell."""
    gate = {keras.layers.GRUCell: 0, keras.layers.LSTMCell: 1}.get(type(cell))
    bias = getattr(getattr(cell, "bias_initializer", None), "value", None)
    if gate is None or not isinstance(bias, list):
        return None
    keep = np.ravel(bias)[gate * cell.units : (gate + 1) * cell.units]
    return float(1.0 + np.exp(np.max(keep)))


def like(cell: keras.layers.Layer, seed: int | None) -> keras.layers.Layer:
    """Make a cell with the same settings and new weights from a seed.

    Raises:
      TypeError: `cell` is not a Keras cell.
    """
    check_cell(cell)
    return type(cell).from_config(_seeded(cell.get_config(), iter(layer_seeds(seed, _MOST_SEEDS))))


def check_cell(cell: Any) -> None:
    """Raise TypeError unless an object is a Keras cell."""
    # Keras' recurrent layers, such as GRU, have the same methods as cells.
    if not isinstance(cell, keras.layers.Layer) or isinstance(cell, keras.layers.RNN):
        raise TypeError(f"memory must be 'gru', 'lstm' or a Keras cell such as keras.layers.GRUCell(64), not {cell!r}")
    if not hasattr(cell, "state_size"):
        raise TypeError(f"the cell {cell!r} of a memory must have a state_size, as those of keras.layers.RNN")


def _seeded(config: Any, seeds: Iterator[int | None]) -> Any:
    """Copy a config, replacing each "seed" in it by one of `seeds`."""
    if isinstance(config, dict):
        return {key: next(seeds) if key == "seed" else _seeded(value, seeds) for key, value in config.items()}
    return [_seeded(value, seeds) for value in config] if isinstance(config, list | tuple) else config
