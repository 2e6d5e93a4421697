"""What callbacks may do when training is broken off, besides what Keras' callbacks do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class ReleasesResources(Protocol):
    """A callback that the trainer tells when training was broken off, in which case on_train_end is not called."""

    def release(self) -> None:
        """Close files, give back the terminal; may be called twice."""


@runtime_checkable
class SavesOnFailure(Protocol):
    """A callback that the trainer tells when training fails while the agent itself is whole."""

    def save_on_failure(self) -> None:
        """Keep the agent as it was after the last whole iteration."""
