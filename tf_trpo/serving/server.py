"""Serve a model by HTTP: the REST API in uvicorn, with a limit of connections and a graceful stop."""

from __future__ import annotations

import contextlib
import logging
import math
import resource
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn

from tf_trpo.serving.model_versions import no_version
from tf_trpo.serving.model_watcher import ModelWatcher
from tf_trpo.serving.rest_api import RestApi
from tf_trpo.serving.saved_model import ModelError
from tf_trpo.serving.settings import ServerSettings, in_url

_KEEP_ALIVE_SECONDS = 75
_HEADER_BYTES = 16_384
_OTHER_FILES = 128
"""File descriptors for everything but connections, such as libraries and the files of a model while it is loaded."""
_logger = logging.getLogger(__name__)


def serve(folder: Path, settings: ServerSettings) -> None:
    """Serve the newest version of a model until SIGTERM or Ctrl-C, then answer the requests in flight and return.

    Args:
      folder: folder of the model, NAME in NAME/VERSION/.
      settings: address and limits.

    Raises:
      ModelError: no version can be served.
      OSError: the folder cannot be read, or the server cannot listen on the port.
    """
    watcher = ModelWatcher(folder, name=settings.name, trust=settings.trust)
    watcher.look()
    if watcher.current is None:
        reasons = [status.error_message for status in watcher.statuses.values()]
        raise ModelError("; ".join(reasons) or no_version(folder))
    with _listener(settings) as listener, contextlib.closing(RestApi(watcher, settings)) as api:
        server = uvicorn.Server(_configuration(api, settings))

        def stop(*_: Any) -> None:
            server.should_exit = True

        # uvicorn has its own handlers while it runs, and raises the signal again when it ends.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        with watcher.looking(settings.poll_seconds):
            # From here on, a client that connects waits in the backlog until uvicorn runs.
            address, name = f"{in_url(settings.host)}:{listener.getsockname()[1]}", quote(watcher.name, safe="")
            _logger.info("version %d at http://%s/v1/models/%s", watcher.current.version, address, name)
            server.run(sockets=[listener])


def _configuration(api: RestApi, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        api,
        # httptools does not limit the size of headers.
        http="h11",
        h11_max_incomplete_event_size=_HEADER_BYTES,
        # uvicorn refuses a request if there are this many connections, the request's own included.
        limit_concurrency=_connections(settings.max_connections) + 1,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.timeout) + 1,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )


def _connections(wanted: int) -> int:
    """Raise the limit of open files for `wanted` connections; return the number of connections that are possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    files = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    possible = max(files - _OTHER_FILES, 1)
    if possible < wanted:
        _logger.warning("at most %d connections: the limit of open files is %d (ulimit -Hn)", possible, hard)
    return possible


def _listener(settings: ServerSettings) -> socket.socket:
    """Open the listening socket; its options apply to all connections."""
    is_ipv6 = ":" in settings.host
    # As in other servers, "::" accepts IPv4 too.
    listener = socket.create_server(
        (settings.host, settings.port),
        family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
        dualstack_ipv6=is_ipv6 and socket.has_dualstack_ipv6(),
    )
    # Nagle's algorithm would delay answers by 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Linux closes a connection whose client receives nothing for this many milliseconds.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(1000 * settings.timeout))
    return listener
