"""Functions of one part of a batch, whose results have the same bits in every process.

A result depends only on the policy's weights, the part's rows and some arguments. A function is sent as a TensorFlow
graph, which any process with TensorFlow can compute. The last bits of a sum depend on the number of TensorFlow's
threads, so all processes must use the same number.
"""

from __future__ import annotations

import io
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
from tf_trpo.quiet import errors_only

if TYPE_CHECKING:
    from tf_trpo.models import Policy

SAMPLES, CURVATURE = "samples", "curvature"
"""The two kinds of rows of a part: (observations, weights, actions, advantages), and (observations, weights)."""
BEGIN, GRADIENT, ENTROPY_GRADIENT, FIGURES, PRODUCT = "begin", "gradient", "entropy gradient", "figures", "product "
"""Names of the functions of a part. PRODUCT is a prefix: the kind of the Fisher-vector product follows."""


class Given(NamedTuple):
    """A value that a process fetches once and keeps.

    Attributes:
      key: key of the value; equal keys mean equal values.
      reference: reference by which the value is fetched.
    """

    key: Hashable
    reference: Any


class Request(NamedTuple):
    """A function to compute on a part. The result depends on the request only.

    Attributes:
      functions: all functions, as `saved_functions` returns them.
      weights: arrays of all variables of the policy.
      arguments: arrays, the function's arguments before the rows.
      rows: the part's rows, a flat list of arrays. The key is (iteration, SAMPLES or CURVATURE, number of the part).
      name: name of the function.
    """

    functions: Given
    weights: Given
    arguments: Given
    rows: Given
    name: str


def part_size(rows: int, parts: int) -> int:
    """Return the number of rows of each part; the last parts are padded to this size."""
    return -(-rows // parts)


def cut(rows: Any, parts: int) -> list[list[np.ndarray]]:
    """Cut rows into parts of equal size. The last parts are padded by copies of the last row with weight 0.

    Args:
      rows: a nest of arrays [N, ...]: (observations, weights, ...).
      parts: K, the number of parts, at most N.

    Returns:
      For each part, a flat list of arrays [ceil(N / K), ...].
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

    Each function but BEGIN and PRODUCT takes the old policy's distribution parameters as its first argument; they are
    the first result of BEGIN. The weights sum to 1 over the whole batch, so the sum of the parts' results is the
    result of the batch.

    Args:
      policy: the policy; its variables hold the weights with which the batch was sampled.
      name: BEGIN: () -> the old policy's parameters, and its entropy if there is a closed form. GRADIENT: (old) -> [P].
        ENTROPY_GRADIENT: (old, coefficient) -> [P]. FIGURES: (old, theta [P]) -> `PolicyFigures.tensors`. PRODUCT:
        (v [P]) -> F v [P].
      like: a nest with the structure of the rows.
      chunk_size: as for `Objective`.
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
    """Trace functions of a part, and save them with the policy's variables, as a zip archive.

    Args:
      policy: the policy with which the functions were made.
      functions: by name, each function and the specs of its tensors.
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
    """Computes requests, and keeps the functions, the weights and the parts of the present iteration.

    Args:
      fetch: returns the value of a reference.
    """

    def __init__(self, fetch: Callable[[Any], Any]) -> None:
        self._fetch = fetch
        self._keys: dict[str, Hashable] = {}
        self._rows: dict[Hashable, list[tf.Tensor]] = {}
        self._old: dict[Hashable, tf.Tensor] = {}

    def prepare(self, request: Request) -> None:
        """Fetch everything but the rows. Afterwards, threads may compute requests that differ only in their rows."""
        self._renew("functions", request.functions, self._load)
        self._renew("weights", request.weights, self._assign)
        self._renew("arguments", request.arguments, self._keep_arguments)

    def compute(self, request: Request) -> list[np.ndarray]:
        """Return the results of a request; for BEGIN without the old policy's parameters, which are kept here."""
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

    def forget_rows(self) -> None:
        """Forget all parts."""
        self._rows.clear()
        self._old.clear()

    def _renew(self, name: str, given: Given, use: Callable[[Any], None]) -> None:
        """Fetch and use a value, unless it is the present one. After an error, no value is the present one."""
        if self._keys.get(name) != given.key:
            self._keys.pop(name, None)
            use(self._fetch(given.reference))
            self._keys[name] = given.key

    def _assign(self, values: Sequence[np.ndarray]) -> None:
        self.forget_rows()
        for variable, value in zip(self._module.variables_of_policy, values, strict=True):
            variable.assign(value)

    def _keep_arguments(self, values: Sequence[np.ndarray]) -> None:
        self._arguments = list(map(tf.constant, values))

    def _load(self, packed: bytes) -> None:
        self._keys.pop("weights", None)
        with tempfile.TemporaryDirectory(prefix="tf_trpo-parts-") as folder:
            zipfile.ZipFile(io.BytesIO(packed)).extractall(folder)
            # TensorFlow warns that the gradient of a memory's loop cannot be differentiated; no function does this.
            with errors_only("absl"):
                self._module = tf.saved_model.load(folder)
