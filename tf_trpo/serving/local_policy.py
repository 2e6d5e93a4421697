"""A policy from an exported model in this process: TensorFlow and nothing above it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tf_trpo.serving.json_tensors import RequestError
from tf_trpo.serving.model_versions import version_folders
from tf_trpo.serving.saved_model import ModelError, SavedModel, Signature


class LocalPolicy:
    """Acts by a SavedModel.

    Args:
      path: folder of a model, for its newest version, or of a version.
      trust: load a program that tf_trpo did not write.

    Attributes:
      metadata: what tf_trpo wrote next to the model; None for a model of others.
      observation_shape: shape of one observation.

    Raises:
      ModelError, MetadataError: there is no model, it cannot be loaded, or it has no endpoint `act` from observations
        to actions.
      OSError: the folder cannot be read.
    """

    def __init__(self, path: Path, *, trust: bool = False) -> None:
        versions = {0: path} if (path / "saved_model.pb").is_file() else version_folders(path)
        if not versions:
            raise ModelError(f"{path} holds no version: a folder with a number for a name")
        self._model = SavedModel(*max(versions.items()), trust=trust)
        self._act = self._endpoint("act", "observations")
        self.metadata = self._model.metadata
        self.observation_shape = self._act.inputs["observations"].shape[1:]

    def act(self, observations: np.ndarray, seed: tuple[int, int] | None = None) -> np.ndarray:
        """Compute actions [N, ...] for observations [N, ...]: the mode, or sampled with a seed.

        Raises:
          ModelError: the model cannot sample, or refuses the observations.
        """
        endpoint, inputs = self._act, {"observations": observations}
        if seed is not None:
            endpoint = self._endpoint("act_stochastic", "observations", "seed")
            inputs["seed"] = np.asarray(seed)
        try:
            outputs = endpoint({name: np.asarray(value, endpoint.inputs[name].dtype) for name, value in inputs.items()})
        except RequestError as error:
            raise ModelError(str(error)) from None
        actions = outputs["actions"]
        if actions.shape[:1] != (len(observations),):
            raise ModelError(f"the model gives actions of shape {actions.shape} for {len(observations)} observations")
        return actions

    def _endpoint(self, name: str, *inputs: str) -> Signature:
        """Find an endpoint with these inputs, real observations in batches, and with actions."""
        found = self._model.signatures.get(name)
        if found is not None and found.inputs.keys() == set(inputs) and "actions" in found.outputs:
            observed = found.inputs["observations"]
            if observed.batched and observed.dtype.kind == "f":
                return found
        wanted = f"endpoint {name} from {' and '.join(inputs)} to actions, with batches of real observations"
        raise ModelError(f"the model has no {wanted}; it has {', '.join(self._model.signatures)}")

    def close(self) -> None:
        """Do nothing: a `RemotePolicy` has a connection to close."""
