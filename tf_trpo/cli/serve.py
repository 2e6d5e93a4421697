"""`serve`: answer TensorFlow Serving's REST requests for an exported model."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from tf_trpo.cli.parsing import parse
from tf_trpo.cli.startup import start_tensorflow
from tf_trpo.experiment.settings import require_within
from tf_trpo.optimizers.ranges import require


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """Serve an exported model by TensorFlow Serving's REST API, with nothing but TensorFlow below it."""

    model: tyro.conf.Positional[Path]
    """Folder of the model, such as saved_models/CartPole-v1; its newest version is served, and newer ones to come."""
    name: str | None = None
    """Name of the model in the paths; by default its folder's."""
    host: str = "127.0.0.1"
    """Address to listen at. Anyone who reaches it may ask: put a proxy with authentication before a public one."""
    port: int = 8501
    """Port to listen at; 0 for one that is free."""
    trust: bool = False
    """Serve SavedModels that tf_trpo did not write, too. A SavedModel is a program: it can do what you can."""
    max_batch: int = 1024
    """Largest number of observations in a request."""
    max_request_bytes: int = 1_048_576
    """Largest body of a request."""
    max_waiting: int = 1024
    """Requests that may wait at the same time; further ones get status 503."""
    max_connections: int = 2048
    """Connections at the same time, as far as the limit of open files lets them be; further ones get status 503."""
    timeout: float = 30.0
    """Seconds that a request's head, and its body, may take to arrive, and its answer to be found; also of a graceful
    stop."""
    batching: bool = True
    """Answer requests that wait at the same time by one call of the model."""
    poll_seconds: float = 1.0
    """Seconds between two looks for new versions."""
    threads: int = 0
    """Calls of the model at the same time; 0 for as many as there are cores."""

    def __post_init__(self) -> None:
        at_least_one = dict.fromkeys(
            ("max_batch", "max_request_bytes", "max_waiting", "max_connections"), (1, 2**31 - 1)
        )
        require_within(self, port=(0, 65_535), threads=(0, 1024), **at_least_one)
        for name in ("timeout", "poll_seconds"):
            require(0 < getattr(self, name) < math.inf, name, "positive and finite", getattr(self, name))
        named = self.name is None or re.fullmatch(r"[^/:]+", self.name)
        require(bool(named), "name", "of at least one character, without / and :", self.name)


def main(argv: Sequence[str]) -> None:
    """Read options, serve until a signal."""
    options = parse(ServeOptions, argv, "serve")
    start_tensorflow()
    from tf_trpo.serving.rest_api import Limits
    from tf_trpo.serving.saved_model import ModelError
    from tf_trpo.serving.server import serve

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    limits = Limits(
        max_batch=options.max_batch,
        max_bytes=options.max_request_bytes,
        max_waiting=options.max_waiting,
        timeout=options.timeout,
        max_connections=options.max_connections,
    )
    try:
        serve(
            options.model,
            name=options.name,
            host=options.host,
            port=options.port,
            trust=options.trust,
            limits=limits,
            batching=options.batching,
            poll_seconds=options.poll_seconds,
            threads=options.threads,
        )
    except ModelError as error:
        if not options.trust and "did not write" in str(error):
            error.add_note("A SavedModel is a program: --trust serves one of others all the same")
        raise
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, f"{options.host}:{options.port}") from None
        raise
