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

from tf_trpo.cli.errors import UsageError, one_line_errors
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.startup import start_tensorflow

LARGEST_PORT = 65_535


@dataclasses.dataclass(frozen=True)
class ServeSettings:
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


def main(argv: Sequence[str]) -> None:
    """Parse options, serve until a signal."""
    with one_line_errors():
        settings: ServeSettings = parse(ServeSettings, argv, "serve")
        _check(settings)
        _check_extra()
        start_tensorflow()
        from tf_trpo.serving.rest_api import Limits
        from tf_trpo.serving.saved_model import ModelError
        from tf_trpo.serving.server import serve

        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        try:
            serve(
                settings.model,
                name=settings.name,
                host=settings.host,
                port=settings.port,
                trust=settings.trust,
                limits=Limits(
                    max_batch=settings.max_batch,
                    max_bytes=settings.max_request_bytes,
                    max_waiting=settings.max_waiting,
                    timeout=settings.timeout,
                    max_connections=settings.max_connections,
                ),
                batching=settings.batching,
                poll_seconds=settings.poll_seconds,
                threads=settings.threads,
            )
        except ModelError as error:
            hint = "" if settings.trust else "; a SavedModel is a program: --trust serves one of others all the same"
            raise UsageError(f"{error}{hint if 'did not write' in str(error) else ''}") from None
        except OSError as error:
            what = error.filename or f"{settings.host}:{settings.port}"
            raise UsageError(f"{what}: {error.strerror or error}") from None


def _check(settings: ServeSettings) -> None:
    for name in ("max_batch", "max_request_bytes", "max_waiting", "max_connections"):
        if getattr(settings, name) < 1:
            raise UsageError(f"{name} must be at least 1, got {getattr(settings, name)}")
    for name in ("timeout", "poll_seconds"):
        if not 0 < getattr(settings, name) < math.inf:
            raise UsageError(f"{name} must be positive and finite, got {getattr(settings, name)}")
    if not 0 <= settings.port <= LARGEST_PORT:
        raise UsageError(f"port must lie between 0 and {LARGEST_PORT}, got {settings.port}")
    if settings.name is not None and not re.fullmatch(r"[^/:]+", settings.name):
        raise UsageError(f"name must have a character, and neither / nor :, got {settings.name!r}")
    if settings.threads < 0:
        raise UsageError(f"threads must be at least 0, got {settings.threads}")


def _check_extra() -> None:
    try:
        import orjson  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f'{error.name} is not installed: pip install "tf_trpo[serve]"') from None
