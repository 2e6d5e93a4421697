"""Settings of the REST server: its address, and what a client may ask of it."""

from __future__ import annotations

import dataclasses
import re

from tf_trpo.ranges import require, require_allowed


@dataclasses.dataclass(frozen=True)
class ServerSettings:
    """Settings of the REST server.

    Raises:
      ValueError: a setting is out of its range.
    """

    name: str | None = None
    """Name of the model in the paths; by default its folder's."""
    host: str = "127.0.0.1"
    """Address to listen at. Anyone who reaches it may ask: put a proxy with authentication before a public one."""
    port: int = 8501
    """Port to listen at; 0 for a free one."""
    trust: bool = False
    """Serve SavedModels that tf_trpo did not write, too. A SavedModel is a program: it can do what you can."""
    max_batch: int = 1024
    """Largest number of observations in a request."""
    max_request_bytes: int = 1_048_576
    """Largest body of a request."""
    max_waiting: int = 1024
    """Requests that may wait at the same time; further requests get status 503."""
    max_connections: int = 2048
    """Connections at the same time, as far as the limit of open files allows; requests of further ones get status
    503."""
    timeout: float = 30.0
    """Seconds for a request's body to arrive, for its answer to be computed, and for a graceful stop, each."""
    batching: bool = True
    """Answer requests that wait at the same time by one call of the model."""
    poll_seconds: float = 1.0
    """Seconds between two looks for new versions."""
    threads: int = 0
    """Calls of the model at the same time; 0 for as many as there are cores."""

    def __post_init__(self) -> None:
        sizes = ("max_batch", "max_request_bytes", "max_waiting", "max_connections")
        require_allowed(self, **dict.fromkeys(sizes, "[1, inf)"), threads="[0, inf)", port="[0, 65535]")
        require_allowed(self, timeout="(0, 86400]", poll_seconds="(0, 86400]")
        named = self.name is None or re.fullmatch(r"[^/:]+", self.name) is not None
        require(named, "name", "without / and :, and not empty", self.name)
