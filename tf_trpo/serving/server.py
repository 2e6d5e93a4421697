"""Serving a model: uvicorn around the REST API, limits of connections, and a graceful stop."""

from __future__ import annotations

import functools
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn

from tf_trpo.serving.http_connection import HttpConnection
from tf_trpo.serving.model_watcher import ModelWatcher
from tf_trpo.serving.rest_api import Limits, RestApi
from tf_trpo.serving.saved_model import ModelError

_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048
_HEADER_BYTES = 16_384
_OTHER_FILES = 128
"""Descriptors that are kept for all but connections: libraries, the model's files while it is loaded."""
_logger = logging.getLogger(__name__)


def serve(
    folder: Path,
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8501,
    trust: bool = False,
    limits: Limits | None = None,
    batching: bool = True,
    poll_seconds: float = 1.0,
    threads: int = 0,
) -> None:
    """Serve the newest version of a model until SIGTERM or Ctrl-C, then answer the requests in flight and return.

    Args:
      folder: of the model, NAME of NAME/VERSION/.
      name: of the model in the paths; by default its folder's.
      host: address to listen at.
      port: 0 for one that is free; what it is, is logged.
      trust: serve programs that tf_trpo did not write.
      limits: of requests.
      batching: put requests that wait at the same time together.
      poll_seconds: between two looks for new versions, > 0.
      threads: that call the model at the same time; 0 for one for each core.

    Raises:
      ModelError: no version can be served.
      OSError: the folder cannot be read, or the port cannot be listened at.
    """
    limits = limits or Limits()
    watcher = ModelWatcher(folder, name=name, trust=trust)
    watcher.look()
    if watcher.current is None:
        reasons = [status.error_message for status in watcher.statuses.values()]
        above = f"; serve {folder.resolve().parent}" if (folder / "saved_model.pb").is_file() else ""
        raise ModelError("; ".join(reasons) or f"{folder} holds no version: a folder with a number for a name{above}")
    api = RestApi(watcher, limits, batching=batching, threads=threads or os.cpu_count() or 1)
    with _listening(host, port) as listener:
        where = f"http://{host}:{listener.getsockname()[1]}/v1/models/{quote(watcher.name, safe='')}"
        announcement = f"version {watcher.current.version} at {where}"
        server = _Server(_configuration(api, limits), lambda: _logger.info(announcement))

        def stop(*_: Any) -> None:
            server.should_exit = True

        # uvicorn has handlers of its own while it runs, and raises the signal again when it is done: that ended well.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        watcher.start(poll_seconds)
        try:
            server.run(sockets=[listener])
        finally:
            watcher.stop()


class _Server(uvicorn.Server):
    """uvicorn's, that says when it answers."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()


def _configuration(api: RestApi, limits: Limits) -> uvicorn.Config:
    # uvicorn calls what it takes for a class, and nothing more.
    protocol: Any = functools.partial(HttpConnection, seconds=limits.timeout, most=_connections(limits.max_connections))
    return uvicorn.Config(
        api.application(),
        # With httptools, headers would have no limit.
        http=protocol,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(limits.timeout) + 1,
    )


def _connections(wanted: int) -> int:
    """How many connections there can be: each needs a descriptor, and without one nobody would be answered at all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    if hard == resource.RLIM_INFINITY or hard >= needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    possible = max(hard - _OTHER_FILES, 1)
    _logger.warning("at most %d connections: the limit of open files is %d (ulimit -Hn)", possible, hard)
    return possible


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off (it would hold answers back for 40 ms) where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
