"""A policy that runs an exported model in this process, by TensorFlow without Keras."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_trpo.serving.metadata import EPISODES, INITIAL_STATE, check_episodes, is_state
from tf_trpo.serving.model_versions import no_version, version_folders
from tf_trpo.serving.saved_model import Arrays, ModelError, SavedModel, Signature, Specs, is_batched
from tf_trpo.spaces.specs import named, unnamed


class LocalPolicy:
    """Computes actions by a SavedModel.

    Args:
      path: folder of a model (its newest version is loaded), or of a version.
      trust: also load a model that tf_trpo did not write.

    Attributes:
      metadata: the metadata of a model that tf_trpo wrote, else None.
      observations: shapes (with the batch) and dtypes of the parts of the observations, by name.

    Raises:
      ModelError, MetadataError: there is no model, it cannot be loaded, or it has no endpoint `act` from observations
        to actions.
      OSError: the folder cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], *, trust: bool = False) -> None:
        path = Path(path)
        versions = {0: path} if (path / "saved_model.pb").is_file() else version_folders(path)
        if not versions:
            raise ModelError(no_version(path))
        self._model = SavedModel(*max(versions.items()), trust=trust)
        self.metadata = self._model.metadata
        self._actions = _structure(None if self.metadata is None else self.metadata.action_space)
        self._act = self._endpoint("act")
        self.observations: Specs = {name: spec for name, spec in self._act.inputs.items() if not is_state(name)}
        self._state_names = [name for name in self._act.inputs if is_state(name)]
        self._state: Arrays = {}
        begins = self._model.signatures.get(INITIAL_STATE)
        if self._state_names and (begins is None or not {*self._state_names} <= begins.outputs):
            raise ModelError(f"the model takes a state, and has no endpoint {INITIAL_STATE} that gives the first one")

    def begin(self) -> None:
        """Reset the memory: the next observations, all rows of them, are the first ones of their episodes."""
        self._state = {}

    def act(self, observations: Any, seed: tuple[int, int] | None = None) -> Any:
        """Compute actions for observations. A memory keeps its state between calls.

        Args:
          observations: a nest of arrays [N, ...], as a vector environment returns them.
          seed: two numbers; actions are sampled, and equal seeds give equal actions. None: the distribution's mode.

        Returns:
          Actions for a vector environment, an array [N, ...] or a nest of arrays.

        Raises:
          ModelError: the model cannot sample, takes other observations, or refuses these.
        """
        given = {name: np.asarray(part) for name, part in named("observations", observations).items()}
        own = self.observations
        if own.keys() != given.keys() or not all(own[name].shape.is_compatible_with(given[name].shape) for name in own):
            raise ModelError(f"the model observes {_described(own)}, the environment gives {_described(given)}")
        endpoint = self._act if seed is None else self._endpoint("act_stochastic", "seed")
        count = len(next(iter(given.values())))
        if self._state_names and not self._state:
            begun = self._model.signatures[INITIAL_STATE]({EPISODES: np.zeros(count, np.int32)})
            self._state = {name: begun[name] for name in self._state_names}
        check_episodes(self._state, count, ModelError)
        inputs = {**given, **self._state}
        if seed is not None:
            inputs["seed"] = np.asarray(seed)
        for name, part in inputs.items():
            dtype = endpoint.inputs[name].dtype.as_numpy_dtype
            if not np.can_cast(part.dtype, dtype, "same_kind"):
                raise ModelError(f"the model takes {name} as {np.dtype(dtype)}, not as {part.dtype}")
            inputs[name] = part.astype(dtype)
        outputs = endpoint(inputs)
        for name in named("actions", self._actions):
            if outputs[name].shape[:1] != (count,):
                raise ModelError(f"the model gave {name} of shape {outputs[name].shape} for {count} observations")
        self._state = {name: outputs[name] for name in self._state_names}
        return unnamed("actions", self._actions, outputs)

    def _endpoint(self, name: str, *more: str) -> Signature:
        """Return the endpoint `name`, or raise ModelError if its inputs or outputs are wrong.

        It must take batches of observations and states, and the inputs `more`, and return actions and states.
        """
        found = self._model.signatures.get(name)
        if found is not None and found.inputs.keys() >= {*more}:
            batches = found.inputs.keys() - {*more}
            states = {key for key in batches if is_state(key)}
            given = named("actions", self._actions).keys() | states
            observed = all(key.startswith("observations") for key in batches - states)
            if observed and given <= found.outputs and all(is_batched(found.inputs[key]) for key in batches):
                return found
        wanted = f"endpoint {name} from {' and '.join(('observations', *more))} to actions, with batches"
        raise ModelError(f"the model has no {wanted}; it has {', '.join(self._model.signatures)}")

    def close(self) -> None:
        """Do nothing; only a `RemotePolicy` has a connection to close."""


def _structure(space: Mapping[str, Any] | None) -> Any:
    """Return a nest with the structure of a space that is described by metadata; leaves are None."""
    parts = (space or {}).get("spaces")
    if isinstance(parts, Mapping):
        return {name: _structure(part) for name, part in parts.items()}
    return None if parts is None else tuple(map(_structure, parts))


def _described(arrays: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} of shape {tuple(arrays[name].shape[1:])}" for name in sorted(arrays))
