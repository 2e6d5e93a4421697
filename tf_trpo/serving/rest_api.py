"""TensorFlow Serving's REST API for one model, as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tf_trpo.serving.batching import Batcher
from tf_trpo.serving.json_tensors import RequestError, parse_predict_request, predict_answer
from tf_trpo.serving.model_watcher import ModelWatcher
from tf_trpo.serving.saved_model import SavedModel

_logger = logging.getLogger(__name__)
_LARGEST_VERSION = 2**63 - 1
_BODY_NOT_READ = (408, 413)
"""After these the connection is closed: the rest of the body would be read for nothing."""
_INLINE_BYTES = 16_384
"""Larger bodies are read and written in a worker thread: other requests should not wait for it."""


class Limits(NamedTuple):
    """What one client may ask of the server.

    Attributes:
      max_batch: rows of a request.
      max_bytes: of a request's body.
      max_waiting: requests at the same time; a further one is told to come back.
      timeout: seconds to send a body in, and to wait for an answer in.
    """

    max_batch: int = 1024
    max_bytes: int = 2**20
    max_waiting: int = 1024
    timeout: float = 30.0


class RestApi:
    """The routes.

    Args:
      watcher: the model.
      limits: of requests.
      batching: put requests that wait at the same time together.
      threads: that call the model.
    """

    def __init__(self, watcher: ModelWatcher, limits: Limits, *, batching: bool, threads: int) -> None:
        self._watcher = watcher
        self._limits = limits
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._batcher = Batcher(self._threads, limits.max_batch, together=batching)
        self._in_flight = 0

    def application(self) -> Starlette:
        """The ASGI application; its end closes the worker threads."""
        model = "/v1/models/{name}"
        routes = []
        for path in (model, model + "/versions/{version}"):
            routes.append(Route(path + ":{method}", self._predict, methods=["POST"]))
            routes.append(Route(path + "/metadata", self._metadata, methods=["GET"]))
            routes.append(Route(path, self._status, methods=["GET"]))
        handlers: Any = {RequestError: _refuse, HTTPException: _malformed, Exception: _fail}
        application = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        application.router.redirect_slashes = False
        return application

    @contextlib.asynccontextmanager
    async def _lifespan(self, application: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._threads.shutdown()

    async def _predict(self, request: Request) -> Response:
        if request.path_params["method"] != "predict":
            if request.path_params["method"] in ("classify", "regress"):
                raise RequestError(400, "the model has no endpoint for this method: it answers :predict")
            raise HTTPException(404)
        if self._in_flight >= self._limits.max_waiting:
            raise RequestError(503, f"{self._in_flight} requests are waiting already; try again later")
        self._in_flight += 1
        try:
            model = self._model(request)
            body = await self._body(request)
            async with asyncio.timeout(self._limits.timeout):
                return _json(await self._answer(model, body))
        except TimeoutError:
            raise RequestError(504, f"no answer within {self._limits.timeout:g} s") from None
        finally:
            self._in_flight -= 1

    async def _answer(self, model: SavedModel, body: bytes) -> bytes:
        def understand() -> Any:
            return parse_predict_request(body, lambda name: model.signature(name).inputs, self._limits.max_batch)

        async def run(work: Any) -> Any:
            if len(body) <= _INLINE_BYTES:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

        asked = await run(understand)
        outputs = await self._batcher.run(model.signature(asked.signature), asked.inputs)
        return await run(lambda: predict_answer(outputs, by_row=asked.by_row))

    async def _body(self, request: Request) -> bytes:
        """The body, read no further than the limit."""
        limit = self._limits.max_bytes
        too_large = RequestError(413, f"the request's body is larger than the largest of {limit} bytes")
        said = request.headers.get("content-length", "0")
        if said.isdecimal() and int(said[:20]) > limit:
            raise too_large
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._limits.timeout):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limit:
                        raise too_large
                    chunks.append(chunk)
        except TimeoutError:
            raise RequestError(408, f"the request did not arrive within {self._limits.timeout:g} s") from None
        except ClientDisconnect:
            raise RequestError(400, "the client went away") from None
        return b"".join(chunks)

    async def _status(self, request: Request) -> Response:
        name, version = self._asked(request)
        statuses = self._watcher.statuses if name == self._watcher.name else {}
        if version is not None:
            if version not in statuses:
                raise RequestError(404, f"Could not find version {version} of model {name}")
            statuses = {version: statuses[version]}
        if not statuses:
            raise RequestError(404, f"Could not find any versions of model {name}")
        listed = [
            {
                "version": str(number),
                "state": status.state,
                "status": {"error_code": status.error_code, "error_message": status.error_message},
            }
            for number, status in statuses.items()
        ]
        return _json(orjson.dumps({"model_version_status": listed}))

    async def _metadata(self, request: Request) -> Response:
        model = self._model(request)
        answer = {
            "model_spec": {"name": self._watcher.name, "signature_name": "", "version": str(model.version)},
            "metadata": {"signature_def": {"signature_def": model.signature_def}},
        }
        return _json(orjson.dumps(answer))

    def _model(self, request: Request) -> SavedModel:
        """The version that a path asks for, if it is in service."""
        name, version = self._asked(request)
        model = self._watcher.current
        if model is None or name != self._watcher.name or version not in (None, model.version):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RequestError(404, f"Servable not found for request: {asked}")
        return model

    @staticmethod
    def _asked(request: Request) -> tuple[str, int | None]:
        name, version = request.path_params["name"][:200], request.path_params.get("version")
        if version is None:
            return name, None
        if not (version.isascii() and version.isdecimal()):
            raise HTTPException(404)
        if len(version) > 19 or int(version) > _LARGEST_VERSION:
            raise RequestError(400, f"Failed to convert version: {version[:100]} to numeric.")
        return name, int(version)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _json(orjson.dumps({"error": message.encode(errors="replace").decode()}), status)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    response = _error(error.status, str(error))
    if error.status in _BODY_NOT_READ:
        response.headers["Connection"] = "close"
    return response


async def _malformed(request: Request, error: Exception) -> Response:
    """No such path, or not with this method: below /v1/, TensorFlow Serving calls that a malformed request."""
    path = request.url.path[:200]
    if path.startswith("/v1/"):
        return _error(400, f"Malformed request: {request.method[:20]} {path}")
    return _error(404, f"there is nothing at {path}")


async def _fail(request: Request, error: Exception) -> Response:
    # Starlette raises it again after this answer, for the server's log.
    return _error(500, "the server failed to answer; its log says why")
