"""Parts of a batch: what is computed on a part has the same bits, whichever process computes it.

A result is a function of the policy's weights, the part's rows and some arguments. The function travels as TensorFlow's
graph, which any process can compute that has TensorFlow. The last bits of a sum depend on how many threads TensorFlow
has, so all processes must have the same number of them.
"""

from __future__ import annotations

import io
import logging
import tempfile
import zipfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from tf_trpo.estimation import Batch
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.optimizers.curvature import FisherVectorProduct, sampled_product
from tf_trpo.optimizers.objective import Objective, WeightedEntropy

if TYPE_CHECKING:
    from tf_trpo.models import Policy

SAMPLES, CURVATURE = "samples", "curvature"
"""Rows that a part may have: (observations, weights, actions, advantages), or (observations, weights)."""
BEGIN, GRADIENT, ENTROPY_GRADIENT, FIGURES, PRODUCT = "begin", "gradient", "entropy gradient", "figures", "product "
"""Functions of a part; the name of the last one ends with the kind of the product."""


class Given(NamedTuple):
    """A value that is fetched once.

    Attributes:
      key: equal for equal values.
      reference: what the value is fetched by.
    """

    key: Hashable
    reference: Any


class Request(NamedTuple):
    """What is computed on a part; the result is a function of it alone.

    Attributes:
      functions: as `saved_functions` gives them.
      weights: arrays of all variables of the policy.
      arguments: arrays, the function's first ones.
      rows: a flat list of arrays, the part's. The key is (iteration, SAMPLES or CURVATURE, number of the part).
      name: of the function.
    """

    functions: Given
    weights: Given
    arguments: Given
    rows: Given
    name: str


def part_size(rows: int, parts: int) -> int:
    """Give the rows of each part; the last parts are filled up."""
    return -(-rows // parts)


def cut(rows: Any, parts: int) -> list[list[np.ndarray]]:
    """Cut rows into equal parts, of which the last ones repeat the last row with weight 0.

    Args:
      rows: a nest of arrays [N, ...], (observations, weights, ...).
      parts: their number K, at most N.

    Returns:
      A flat list of arrays [ceil(N / K), ...] for each part.
    """
    arrays, place = [np.asarray(array) for array in tf.nest.flatten(rows)], len(tf.nest.flatten(rows[0]))
    count = len(arrays[place])
    size, cuts = part_size(count, parts), []
    for first in range(0, size * parts, size):
        here = [array[first : first + size] for array in arrays]
        if first + size > count:
            places = np.arange(first, first + size)
            here = [array[np.minimum(places, count - 1)] for array in arrays]
            here[place][places >= count] = 0
        cuts.append(here)
    return cuts


def part_function(policy: Policy, name: str, like: Any, chunk_size: int | None) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Make a function of a part: (*arguments, *rows) -> tensors.

    All but BEGIN and PRODUCT have the old policy's distribution parameters as their first argument, which are the first
    result of BEGIN. Means are over the whole batch, whose weights have the sum 1, so that the parts' results add up.

    Args:
      policy: in its variables the weights of the policy that sampled.
      name: BEGIN: () -> the old policy's parameters, and its entropy if there is a closed form. GRADIENT: (old) -> [P].
        ENTROPY_GRADIENT: (old, coefficient) -> [P]. FIGURES: (old, theta [P]) -> `PolicyFigures.tensors`. PRODUCT:
        (v [P]) -> F v [P].
      like: nest of the rows.
      chunk_size: of `Objective`.
    """
    count = len(tf.nest.flatten(like))

    def function(*tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
        arguments, rows = tensors[:-count], tensors[-count:]
        theta = policy.flat_weights
        observations, weights, *others = tf.nest.pack_sequence_as(like, list(rows))
        if name.startswith(PRODUCT):
            kind = cast(FisherVectorProduct, name.removeprefix(PRODUCT))
            return (sampled_product(policy, theta, observations, weights, kind, chunk_size)(*arguments),)
        actions, advantages = others
        old = None if name == BEGIN else arguments[0]
        objective = Objective(policy, Batch(observations, actions, advantages, weights), theta, chunk_size, old=old)
        if name == BEGIN:
            entropy = objective.old.figures.entropy
            return objective.samples.old, *([] if entropy is None else [entropy])
        if name == FIGURES:
            return objective.figures(arguments[1]).tensors
        value = WeightedEntropy(objective.entropy, arguments[1]) if name == ENTROPY_GRADIENT else None
        return (objective.gradient(value),)

    return function


def saved_functions(policy: Policy, functions: Mapping[str, tuple[Callable[..., Any], Sequence[Any]]]) -> bytes:
    """Trace functions of a part, and save them with the policy's variables.

    Args:
      policy: the one that the functions were made with.
      functions: each function and the specs of its tensors, by name.
    """
    module = tf.Module()
    module.variables_of_policy = [variable.value for variable in policy.variables]
    module.functions = {
        name: tf.function(function, specs, autograph=False) for name, (function, specs) in functions.items()
    }
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="tf_trpo-parts-") as folder, zipfile.ZipFile(packed, "w") as archive:
        tf.saved_model.save(module, folder)
        for path in sorted(Path(folder).rglob("*")):
            archive.write(path, path.relative_to(folder))
    return packed.getvalue()


class PartComputer:
    """Computes what requests ask for, and keeps what they give: the functions, and the parts of one iteration.

    Args:
      fetch: gives the value of a reference.
    """

    def __init__(self, fetch: Callable[[Any], Any] = lambda reference: reference) -> None:
        self._fetch = fetch
        self._keys: dict[str, Hashable] = {}
        self._rows: dict[Hashable, list[tf.Tensor]] = {}
        self._old: dict[Hashable, tf.Tensor] = {}

    def prepare(self, request: Request) -> None:
        """Fetch all but the rows; after that, requests that differ in their rows may be computed at the same time."""
        if self._is_new("functions", request.functions):
            self._keys.pop("weights", None)
            self._load(self._fetch(request.functions.reference))
        if self._is_new("weights", request.weights):
            self._rows.clear()
            self._old.clear()
            values = self._fetch(request.weights.reference)
            for variable, value in zip(self._module.variables_of_policy, values, strict=True):
                variable.assign(value)
        if self._is_new("arguments", request.arguments):
            self._arguments = list(map(tf.constant, self._fetch(request.arguments.reference)))

    def compute(self, request: Request) -> list[np.ndarray]:
        """Give a part's results, for BEGIN without the first one."""
        self.prepare(request)
        key = request.rows.key
        if key not in self._rows:
            self._rows[key] = list(map(tf.constant, self._fetch(request.rows.reference)))
        rows, functions = self._rows[key], self._module.functions
        if request.name.startswith(PRODUCT):
            found = functions[request.name](*self._arguments, *rows)
        else:
            entropy: tuple[tf.Tensor, ...] = ()
            if key not in self._old or request.name == BEGIN:
                self._old[key], *entropy = functions[BEGIN](*rows)
            if request.name == BEGIN:
                found = entropy
            else:
                found = functions[request.name](self._old[key], *self._arguments, *rows)
        return [tensor.numpy() for tensor in found]

    def _is_new(self, name: str, given: Given) -> bool:
        before, self._keys[name] = self._keys.get(name), given.key
        return before != given.key

    def _load(self, packed: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="tf_trpo-parts-") as folder:
            zipfile.ZipFile(io.BytesIO(packed)).extractall(folder)
            # It warns that nobody can differentiate a memory's loop again, which nobody does.
            logger = logging.getLogger("absl")
            level = logger.level
            logger.setLevel(logging.ERROR)
            try:
                self._module = tf.saved_model.load(folder)
            finally:
                logger.setLevel(level)
