"""Callbacks that hold a file or the terminal."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class ReleasesResources(Protocol):
    """A callback that the fit loop tells when training was broken off, when on_train_end is not called."""

    def release(self) -> None:
        """Close files, give back the terminal; may be called twice."""
