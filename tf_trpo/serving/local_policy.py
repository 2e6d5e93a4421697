"""A policy from an exported model in this process: TensorFlow and nothing above it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_trpo.serving.json_tensors import InputSpec, RequestError
from tf_trpo.serving.model_versions import no_version, version_folders
from tf_trpo.serving.saved_model import ModelError, SavedModel, Signature
from tf_trpo.spaces.specs import named, unnamed


class LocalPolicy:
    """Acts by a SavedModel.

    Args:
      path: folder of a model, for its newest version, or of a version.
      trust: load a program that tf_trpo did not write.

    Attributes:
      metadata: what tf_trpo wrote next to the model; None for a model of others.
      observations: shapes, with the batch, and types of the parts of the observations, by name.

    Raises:
      ModelError, MetadataError: there is no model, it cannot be loaded, or it has no endpoint `act` from observations
        to actions.
      OSError: the folder cannot be read.
    """

    def __init__(self, path: Path, *, trust: bool = False) -> None:
        versions = {0: path} if (path / "saved_model.pb").is_file() else version_folders(path)
        if not versions:
            raise ModelError(no_version(path))
        self._model = SavedModel(*max(versions.items()), trust=trust)
        self.metadata = self._model.metadata
        self._actions = _structure(None if self.metadata is None else self.metadata.action_space)
        self._act = self._endpoint("act")
        self.observations: Mapping[str, InputSpec] = self._act.inputs

    def act(self, observations: Any, seed: tuple[int, int] | None = None) -> Any:
        """Compute actions for observations: the mode, or sampled with a seed.

        Args:
          observations: as a vector environment gives them, a nest of arrays [N, ...].
          seed: two numbers; the same ones give the same actions.

        Returns:
          Actions as a vector environment takes them, an array [N, ...] or a nest of arrays.

        Raises:
          ModelError: the model cannot sample, observes something else, or refuses the observations.
        """
        given = {name: np.asarray(part) for name, part in named("observations", observations).items()}
        self._check(given)
        count = len(next(iter(given.values())))
        endpoint = self._act if seed is None else self._endpoint("act_stochastic", "seed")
        inputs = given if seed is None else {**given, "seed": np.asarray(seed)}
        try:
            outputs = endpoint({name: np.asarray(value, endpoint.inputs[name].dtype) for name, value in inputs.items()})
        except RequestError as error:
            raise ModelError(str(error)) from None
        for name in named("actions", self._actions):
            if outputs[name].shape[:1] != (count,):
                raise ModelError(f"the model gives {name} of shape {outputs[name].shape} for {count} observations")
        return unnamed("actions", self._actions, outputs)

    def _endpoint(self, name: str, *more: str) -> Signature:
        """Find an endpoint from batches of observations, and more, to actions."""
        found = self._model.signatures.get(name)
        if found is not None and named("actions", self._actions).keys() <= found.outputs:
            observed = {key: spec for key, spec in found.inputs.items() if key not in more}
            if (
                len(found.inputs) == len(observed) + len(more)
                and observed
                and all(key.startswith("observations") and spec.batched for key, spec in observed.items())
            ):
                return found
        wanted = f"endpoint {name} from {' and '.join(('observations', *more))} to actions, with batches"
        raise ModelError(f"the model has no {wanted}; it has {', '.join(self._model.signatures)}")

    def _check(self, given: Mapping[str, np.ndarray]) -> None:
        """Raise ModelError unless the observations have the parts, the shapes and the kinds of numbers of the model."""
        own = {name: spec.shape[1:] for name, spec in self.observations.items()}
        shapes = {name: part.shape[1:] for name, part in given.items()}
        if own.keys() != shapes.keys() or any(
            len(shape) != len(shapes[name]) or any(a not in (None, b) for a, b in zip(shape, shapes[name], strict=True))
            for name, shape in own.items()
        ):
            raise ModelError(f"the model observes {_described(own)}, the environment gives {_described(shapes)}")
        for name, part in given.items():
            if not np.can_cast(part.dtype, self.observations[name].dtype, "same_kind"):
                raise ModelError(f"the model takes {name} as {self.observations[name].dtype}, not as {part.dtype}")

    def close(self) -> None:
        """Do nothing: a `RemotePolicy` has a connection to close."""


def _structure(space: Mapping[str, Any] | None) -> Any:
    """Make a nest of the structure that a described space has."""
    parts = (space or {}).get("spaces")
    if isinstance(parts, Mapping):
        return {name: _structure(part) for name, part in parts.items()}
    return None if parts is None else tuple(map(_structure, parts))


def _described(shapes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} of shape {tuple(shape)}" for name, shape in sorted(shapes.items()))
