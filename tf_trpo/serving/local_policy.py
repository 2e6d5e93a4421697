"""A policy from an exported model in this process: TensorFlow and nothing above it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tf_trpo.serving.metadata import ModelMetadata
from tf_trpo.serving.model_versions import version_folders
from tf_trpo.serving.saved_model import ModelError, SavedModel


class LocalPolicy:
    """Acts by a SavedModel.

    Args:
      path: folder of a model, for its newest version, or of a version.
      trust: load a program that tf_trpo did not write.

    Attributes:
      metadata: what tf_trpo wrote beside the model; None of a model of others.

    Raises:
      ModelError, MetadataError: there is none, or it cannot be loaded.
      OSError: the folder cannot be read.
    """

    def __init__(self, path: Path, *, trust: bool = False) -> None:
        folder, version = path, 0
        if not (path / "saved_model.pb").is_file():
            versions = version_folders(path)
            if not versions:
                raise ModelError(f"{path} holds no version: a folder with a number for a name")
            version, folder = list(versions.items())[-1]
        self._model = SavedModel(version, folder, trust=trust)
        self.metadata: ModelMetadata | None = self._model.metadata

    @property
    def observation_shape(self) -> tuple[int | None, ...]:
        """Of one observation."""
        return self._model.signature("act").inputs["observations"].shape[1:]

    def act(self, observations: np.ndarray, seed: tuple[int, int] | None = None) -> np.ndarray:
        """Actions [N, ...] for observations [N, ...]: the mode, or sampled with a seed."""
        inputs = {"observations": np.asarray(observations, np.float32)}
        if seed is None:
            return self._model.signature("act")(inputs)["actions"]
        return self._model.signature("act_stochastic")({**inputs, "seed": np.asarray(seed, np.int32)})["actions"]

    def close(self) -> None:
        """Nothing to do."""
