"""TensorFlow Serving's REST API for one model, as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tf_trpo.serving.batching import Batcher
from tf_trpo.serving.json_tensors import PredictRequest, RequestError, parse_predict_request, predict_answer
from tf_trpo.serving.model_versions import LARGEST_VERSION
from tf_trpo.serving.model_watcher import ModelWatcher
from tf_trpo.serving.saved_model import SavedModel

_T = TypeVar("_T")
_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
# As in TensorFlow Serving, upper and lower case are the same, and %XX in a name is decoded after the match.
_ASKS = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>predict|classify|regress)", re.ASCII | re.IGNORECASE
)
_LOOKS = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?P<metadata>/metadata)?", re.ASCII | re.IGNORECASE)
_LONGEST_SHOWN = 200
_WATCH_AFTER_SECONDS = 0.1
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
      timeout: seconds to send a request's head in, its body in, and to wait for an answer in.
      max_connections: at the same time.
    """

    max_batch: int = 1024
    max_bytes: int = 2**20
    max_waiting: int = 1024
    timeout: float = 30.0
    max_connections: int = 2048


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
        self._batcher = Batcher(threads, limits.max_batch, together=batching)
        # A pool of its own: a large body should not wait for a slow model.
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="json")
        self._in_flight = 0

    def application(self) -> Starlette:
        """The ASGI application; its end closes the worker threads."""
        routes = [Route("/{path:path}", self._respond, methods=["GET", "POST"])]
        handlers: Any = {RequestError: _refuse, HTTPException: _malformed, Exception: _fail}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, application: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._batcher.close()
            self._readers.shutdown()

    async def _respond(self, request: Request) -> Response:
        path = _raw_path(request)
        if request.method == "POST" and (found := _ASKS.fullmatch(path)):
            asked = _asked(found)
            if found["method"] == "predict":
                return await self._predict(request, asked)
            if found["method"] in ("classify", "regress"):
                raise RequestError(400, "the model has no endpoint for this method: it answers :predict")
        if request.method == "GET" and (found := _LOOKS.fullmatch(path)):
            if found["name"] is None:
                raise RequestError(400, "Missing model name in request.")
            # TensorFlow Serving answers /METADATA with the status, too.
            return self._metadata(_asked(found)) if found["metadata"] == "/metadata" else self._status(_asked(found))
        raise HTTPException(404)

    async def _predict(self, request: Request, asked: _Asked) -> Response:
        if self._in_flight >= self._limits.max_waiting:
            raise RequestError(503, f"{self._in_flight} requests are waiting already; try again later")
        self._in_flight += 1
        try:
            model = self._model(asked)
            body = await self._body(request)
            async with asyncio.timeout(self._limits.timeout) as deadline:
                with _until_gone(request, deadline):
                    return _json(await self._answer(model, body))
        except TimeoutError:
            raise RequestError(504, f"no answer within {self._limits.timeout:g} s") from None
        finally:
            self._in_flight -= 1

    async def _answer(self, model: SavedModel, body: bytes) -> bytes:
        def understand() -> PredictRequest:
            return parse_predict_request(body, lambda name: model.signature(name).inputs, self._limits.max_batch)

        async def run(work: Callable[[], _T]) -> _T:
            if len(body) <= _INLINE_BYTES:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)

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

    def _status(self, asked: _Asked) -> Response:
        statuses = self._watcher.statuses if asked.name == self._watcher.name else {}
        if asked.version is not None:
            if asked.version not in statuses:
                raise RequestError(404, f"Could not find version {asked.version} of model {asked.name}")
            statuses = {asked.version: statuses[asked.version]}
        if not statuses:
            raise RequestError(404, f"Could not find any versions of model {asked.name}")
        listed = [
            {
                "version": str(number),
                "state": status.state,
                "status": {"error_code": status.error_code, "error_message": status.error_message},
            }
            for number, status in statuses.items()
        ]
        return _json(orjson.dumps({"model_version_status": listed}))

    def _metadata(self, asked: _Asked) -> Response:
        model = self._model(asked)
        answer = {
            "model_spec": {"name": self._watcher.name, "signature_name": "", "version": str(model.version)},
            "metadata": {"signature_def": {"signature_def": model.signature_def}},
        }
        return _json(orjson.dumps(answer))

    def _model(self, asked: _Asked) -> SavedModel:
        """The version that a path asks for, if it is in service."""
        model = self._watcher.current
        if model is None or asked.name != self._watcher.name or asked.version not in (None, model.version):
            raise RequestError(404, f"Servable not found for request: {asked}")
        return model


class _Asked(NamedTuple):
    """A model, and a version of it or its newest."""

    name: str
    version: int | None

    def __str__(self) -> str:
        return f"Latest({self.name})" if self.version is None else f"Specific({self.name}, {self.version})"


def _asked(found: re.Match[str]) -> _Asked:
    if found["label"] is not None:
        raise RequestError(400, f"Unrecognized servable version label: {unquote(found['label'][:_LONGEST_SHOWN])}")
    name, version = unquote(found["name"]), found["version"]
    if version is None:
        return _Asked(name, None)
    digits = version.lstrip("0") or "0"
    if len(digits) > len(str(LARGEST_VERSION)) or int(digits) > LARGEST_VERSION:
        raise RequestError(400, f"Failed to convert version: {version[:_LONGEST_SHOWN]} to numeric.")
    return _Asked(name, int(digits))


@contextlib.contextmanager
def _until_gone(request: Request, deadline: asyncio.Timeout) -> Iterator[None]:
    """Let the deadline come at once when the client goes away: nobody waits for the answer."""
    loop = asyncio.get_running_loop()
    watching: list[asyncio.Task[None]] = []

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        if not deadline.expired():
            deadline.reschedule(loop.time())

    # Most answers are there before, and need no task more.
    later = loop.call_later(_WATCH_AFTER_SECONDS, lambda: watching.append(loop.create_task(watch())))
    try:
        yield
    finally:
        later.cancel()
        for task in watching:
            task.cancel()


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
    path = _raw_path(request)
    if path[:4].lower() == "/v1/":
        return _error(400, f"Malformed request: {request.method[:20]} {path[:_LONGEST_SHOWN]}")
    return _error(404, f"there is nothing at {path[:_LONGEST_SHOWN]}")


def _raw_path(request: Request) -> str:
    return bytes(request.scope["raw_path"]).decode("ascii", errors="replace")


async def _fail(request: Request, error: Exception) -> Response:
    # Starlette raises it again after this answer, for the server's log.
    return _error(500, "the server failed to answer; its log says why")
