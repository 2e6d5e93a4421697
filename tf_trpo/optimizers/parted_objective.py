"""An objective whose sums are computed in parts, in any process, and added in the order of the parts."""

from __future__ import annotations

import functools
import hashlib
import itertools
import operator
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from tf_trpo.cores import available_cores
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.fisher_vector_product import Product
from tf_trpo.optimizers import parts as part
from tf_trpo.optimizers.curvature import FisherVectorProduct, subsample
from tf_trpo.optimizers.objective import Objective, PolicyFigures, Value, WeightedEntropy, combined
from tf_trpo.optimizers.parts import CURVATURE, SAMPLES, Given, PartComputer, Request, part_size

if TYPE_CHECKING:
    from tf_trpo.models import Policy


class NotInPartsError(ValueError):
    """A policy step needs a function that is not computed in parts."""


class PartSums(Protocol):
    """Computes functions on all parts of a batch."""

    def begin(self, policy: Policy, rows: Any) -> None:
        """Set the rows of SAMPLES and the policy's weights."""

    def give(self, name: str, rows: Any) -> None:
        """Set the rows with a name, SAMPLES or CURVATURE."""

    def results(self, name: str, rows: str, arguments: Sequence[tf.Tensor]) -> list[list[Any]]:
        """Compute a function of `part_function` on each part, and return the results in the order of the parts."""


class PartedObjective(Objective):
    """An `Objective` that takes the results of parts from `PartSums`, and adds them.

    Args:
      policy, batch, theta, chunk_size, gamma: as for `Objective`; theta must be the policy's present weights.
      sums: computes the parts.
    """

    def __init__(self, *given: Any, sums: PartSums) -> None:
        self._sums = sums
        super().__init__(*given)

    def gradient(self, value: Value | None = None) -> tf.Tensor:
        if value is None:
            return self._added(part.GRADIENT, [])
        if isinstance(value, WeightedEntropy):
            return self._added(part.ENTROPY_GRADIENT, [value.coefficient])
        return _refuse("another gradient than those of the surrogate and the entropy")

    def with_samples(self, **replaced: tf.Tensor) -> Objective:
        return _refuse("limits in addition to its KL, or costs in its advantages")

    def minibatch_gradient(self, value: Value, theta: tf.Tensor, rows: tf.Tensor, counted: tf.Tensor) -> tf.Tensor:
        return _refuse("minibatches")

    def figures(self, theta: tf.Tensor) -> PolicyFigures:
        nothing = tuple(tf.constant(0.0, tf.float64) for _ in self.old.figures.tensors)
        found = map(tuple, self._sums.results(part.FIGURES, SAMPLES, [theta]))
        return PolicyFigures(*functools.reduce(combined, found, nothing))

    def fisher_vector_product(self, *, fraction: float = 1.0, kind: FisherVectorProduct = "gauss-newton") -> Product:
        rows = SAMPLES
        if fraction != 1.0:
            rows = CURVATURE
            self._sums.give(rows, subsample(self.samples.observations, self.samples.weights, fraction))
        return lambda vector: self._added(part.PRODUCT + kind, [vector], rows)

    def _of_old_policy(self, old: tf.Tensor | None) -> tuple[Any, tf.Tensor | None]:
        batch, distribution = self.batch, self.policy.action_distribution
        self._sums.begin(self.policy, (batch.observations, batch.weights, batch.actions, batch.advantages))
        found = self._sums.results(part.BEGIN, SAMPLES, [])
        zero = tf.constant(0.0, tf.float64)
        # The old policy's parameters stay with the parts.
        return (), functools.reduce(operator.add, itertools.chain(*found), zero) if distribution.has_entropy else None

    def _added(self, name: str, arguments: Sequence[tf.Tensor], rows: str = SAMPLES) -> tf.Tensor:
        found = self._sums.results(name, rows, arguments)
        return functools.reduce(operator.add, itertools.chain(*found), tf.zeros_like(self.theta))


class PartCrew(Protocol):
    """Computes requests, in this process or in others.

    Attributes:
      sent, received: bytes stored for other processes, and bytes of their results, so far. Each implementation says
        what it does not count.
    """

    sent: int
    received: int

    def put(self, value: Any) -> Any:
        """Store a value for all processes, and return a reference to it."""

    def compute(self, requests: Sequence[Request]) -> list[list[np.ndarray]]:
        """Return the results of requests, in their order; the requests differ only in their rows."""


class Home:
    """A `PartCrew` of this process alone, which computes as many parts at the same time as there are cores.

    Args:
      fetch: returns the value of a reference in a request.
    """

    sent = received = 0

    def __init__(self, fetch: Callable[[Any], Any] = lambda value: value) -> None:
        self._computer = PartComputer(fetch)

    def put(self, value: Any) -> Any:
        return value

    def compute(self, requests: Sequence[Request]) -> list[list[np.ndarray]]:
        if len(requests) < 2:
            return list(map(self._computer.compute, requests))
        self._computer.prepare(requests[0])
        with ThreadPoolExecutor(available_cores()) as threads:
            return list(threads.map(self._computer.compute, requests))

    def forget_rows(self) -> None:
        """Free the memory of the last parts; the functions are kept."""
        self._computer.forget_rows()


class CrewSums:
    """`PartSums` that a crew computes.

    Args:
      crew: computes the requests.
      parts: number of parts.
      functions: as `saved_functions` returns them.

    Attributes:
      crew: as given.
      rounds: number of functions computed on all parts so far.
    """

    def __init__(self, crew: PartCrew, parts: int, functions: bytes) -> None:
        self.crew, self.rounds = crew, 0
        self._parts, self._iteration = parts, 0
        # Workers may outlive this object, whose id may then be that of another one.
        self._key = uuid.uuid4().hex
        # Processes that have loaded these functions for another object keep them.
        self._functions = Given(hashlib.sha256(functions).digest(), crew.put(functions))
        self._rows: dict[str, list[Given]] = {}

    def begin(self, policy: Policy, rows: Any) -> None:
        self._iteration += 1
        weights = self.crew.put([variable.numpy() for variable in policy.variables])
        self._weights, self._rows = Given((self._key, self._iteration), weights), {}
        self.give(SAMPLES, rows)

    def give(self, name: str, rows: Any) -> None:
        cuts = part.cut(rows, self._parts)
        self._rows[name] = [
            Given((self._iteration, name, number), self.crew.put(each)) for number, each in enumerate(cuts)
        ]

    def results(self, name: str, rows: str, arguments: Sequence[tf.Tensor]) -> list[list[Any]]:
        self.rounds += 1
        given = Given((self._key, self.rounds), self.crew.put([argument.numpy() for argument in arguments]))
        return self.crew.compute(
            [Request(self._functions, self._weights, given, each, name) for each in self._rows[rows]]
        )


class NotedFunctions:
    """`PartSums` that note which functions a step needs, while the step is traced. No part is computed.

    Args:
      parts: number of parts.
      chunk_size: as for `Objective`.

    Attributes:
      functions: the functions that the step needs, as `saved_functions` takes them.
    """

    def __init__(self, parts: int, chunk_size: int | None) -> None:
        self._parts, self._chunk_size = parts, chunk_size
        self._specs: dict[str, Any] = {}
        self.functions: dict[str, tuple[Callable[..., Any], Sequence[Any]]] = {}

    def begin(self, policy: Policy, rows: Any) -> None:
        self._policy = policy
        self.give(SAMPLES, rows)
        width, weights = policy.action_distribution.one_row().shape[1], self._specs[SAMPLES][1]
        self._old = tf.TensorSpec((*weights.shape, width), tf.float32)

    def results(self, name: str, rows: str, arguments: Sequence[tf.Tensor]) -> list[list[Any]]:
        like = self._specs[rows]
        function = part.part_function(self._policy, name, like, self._chunk_size)
        first = [] if name == part.BEGIN or name.startswith(part.PRODUCT) else [self._old]
        given = [tf.TensorSpec(argument.shape, argument.dtype) for argument in arguments]
        self.functions[name] = function, [*first, *given, *tf.nest.flatten(like)]
        return []

    def give(self, name: str, rows: Any) -> None:
        def of_part(array: tf.Tensor) -> tf.TensorSpec:
            return tf.TensorSpec((part_size(array.shape[0], self._parts), *array.shape[1:]), array.dtype)

        self._specs[name] = tf.nest.map_structure(of_part, rows)


def _refuse(what: str) -> NoReturn:
    raise NotInPartsError(f"its step needs {what}, which are not computed in parts")
