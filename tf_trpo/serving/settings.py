"""Settings of the REST server: its address and its limits."""

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
    """Name of the model in URLs; by default the name of its folder."""
    host: str = "127.0.0.1"
    """Address to listen on. There is no authentication: put a proxy that has it in front of a public address."""
    port: int = 8501
    """Port to listen on; 0 for a free one."""
    trust: bool = False
    """Also serve SavedModels that tf_trpo did not write. A SavedModel is a program: it can do what you can."""
    max_batch: int = 1024
    """Maximum number of observations in a request."""
    max_request_bytes: int = 1_048_576
    """Maximum size of a request's body."""
    max_waiting: int = 1024
    """Maximum number of waiting requests; further requests get status 503."""
    max_connections: int = 2048
    """Maximum number of connections (fewer if the limit of open files is lower); requests on others get status 503."""
    timeout: float = 30.0
    """Seconds allowed for each of these: to receive a request's body, to compute its answer, to send the answer (on
    Linux), and to stop."""
    batching: bool = True
    """Answer all waiting requests by one call of the model."""
    poll_seconds: float = 1.0
    """Seconds between checks for new versions."""
    threads: int = 0
    """Maximum number of simultaneous calls of the model; 0 for the number of cores."""

    def __post_init__(self) -> None:
        sizes = ("max_batch", "max_request_bytes", "max_waiting", "max_connections")
        require_allowed(self, **dict.fromkeys(sizes, "[1, inf)"), threads="[0, inf)", port="[0, 65535]")
        require_allowed(self, timeout="(0, 86400]", poll_seconds="(0, 86400]")
        require(bool(self.host), "host", "an address, such as 0.0.0.0 for all of this machine", self.host)
        named = self.name is None or re.fullmatch(r"[^/:]+", self.name) is not None
        require(named, "name", "without / and :, and not empty", self.name)


def in_url(host: str) -> str:
    """Return a host as it is written in a URL: an IPv6 address is put in brackets."""
    return f"[{host}]" if ":" in host else host
