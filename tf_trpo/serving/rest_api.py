"""TensorFlow Serving's REST API for one model, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote

import orjson

from tf_trpo.serving.batching import Batcher
from tf_trpo.serving.json_tensors import InputSpec, RequestError, parse_predict_request, predict_answer
from tf_trpo.serving.model_versions import LARGEST_VERSION
from tf_trpo.serving.model_watcher import ModelWatcher
from tf_trpo.serving.saved_model import SavedModel
from tf_trpo.serving.settings import ServerSettings

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)

_WHICH = r"(?:/versions/0*(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
# As in TensorFlow Serving, upper and lower case are the same, but not in a method; /METADATA is answered with the
# status; and %XX in a name is decoded after the match.
_ASKS = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_WHICH}:(?P<method>(?-i:predict|classify|regress))", re.ASCII | re.IGNORECASE
)
_LOOKS = re.compile(
    rf"/v1/models(?:/(?P<name>[^/:]+))?{_WHICH}(?:(?P<metadata>(?-i:/metadata))|/metadata)?", re.ASCII | re.IGNORECASE
)
_LONGEST_SHOWN = 200
_BODY_NOT_READ = (408, 413, 503)
"""Statuses after which the connection is closed, because the rest of the body may still come."""
_INLINE_BYTES = 16_384
"""Larger bodies are read and written in a worker thread, so that other requests do not wait for them."""


class RestApi:
    """The application; it takes scopes of type "http" only."""

    def __init__(self, watcher: ModelWatcher, settings: ServerSettings) -> None:
        self._watcher = watcher
        self._settings = settings
        threads = settings.threads or os.cpu_count() or 1
        self._batcher = Batcher(threads, settings.max_batch, together=settings.batching)
        # A pool of its own: a large body should not wait for a slow model.
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="json")
        self._in_flight = 0

    def close(self) -> None:
        """Wait for the worker threads."""
        self._batcher.close()
        self._readers.shutdown()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path = bytes(scope["raw_path"]).decode("ascii", errors="replace")
        status, message = 200, ""
        try:
            body = await self._answer(scope["method"], path, receive)
        except RequestError as error:
            status, message = error.status, str(error)
        except Exception:
            _logger.exception("a request failed")
            status, message = 500, "the server failed to answer; its log says why"
        if status != 200:
            body = orjson.dumps({"error": message.encode(errors="replace").decode()})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status in _BODY_NOT_READ:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str, receive: Receive) -> bytes:
        if method == "POST":
            return await self._post(path, receive)
        found = _LOOKS.fullmatch(path)
        if method != "GET" or not found:
            raise _malformed(method, path)
        if found["name"] is None:
            raise RequestError(400, "Missing model name in request.")
        name, version = _asked(found)
        return orjson.dumps(self._metadata(name, version) if found["metadata"] else self._status(name, version))

    async def _post(self, path: str, receive: Receive) -> bytes:
        if self._in_flight >= self._settings.max_waiting:
            raise RequestError(503, f"{self._in_flight} requests are waiting already; try again later")
        self._in_flight += 1
        try:
            # Read also if nothing is at the path: the connection's next request begins after the body.
            body = await self._body(receive)
            found = _ASKS.fullmatch(path)
            if not found:
                raise _malformed("POST", path)
            model = self._model(*_asked(found))
            if found["method"] != "predict":
                raise RequestError(400, "the model has no endpoint for this method: it answers :predict")
            return await self._while_there(receive, self._predict(model, body))
        finally:
            self._in_flight -= 1

    async def _while_there(self, receive: Receive, predicting: Coroutine[Any, Any, bytes]) -> bytes:
        """Predict, but give up at the time limit, or if the client goes away."""
        prediction = asyncio.create_task(predicting)
        # After the body, the next message is that the client has gone.
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((prediction, gone), timeout=self._settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if not prediction.done():
                raise RequestError(504, f"no answer within {self._settings.timeout:g} s")
            return prediction.result()
        finally:
            prediction.cancel()
            gone.cancel()

    async def _predict(self, model: SavedModel, body: bytes) -> bytes:
        async def run(work: Callable[[], _T]) -> _T:
            if len(body) <= _INLINE_BYTES:
                return work()
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)

        def inputs(signature: str) -> dict[str, InputSpec]:
            return model.signature(signature).inputs

        asked = await run(lambda: parse_predict_request(body, inputs, self._settings.max_batch))
        outputs = await self._batcher.run(model.signature(asked.signature), asked.inputs)
        return await run(lambda: predict_answer(outputs, by_row=asked.by_row))

    async def _body(self, receive: Receive) -> bytes:
        """Read the body, but not beyond the limit."""
        limit, body, more = self._settings.max_request_bytes, bytearray(), True
        try:
            async with asyncio.timeout(self._settings.timeout):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError(400, "the client went away")
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise RequestError(413, f"the request's body is larger than the largest of {limit} bytes")
                    more = message.get("more_body", False)
        except TimeoutError:
            raise RequestError(408, f"the request did not arrive within {self._settings.timeout:g} s") from None
        return bytes(body)

    def _status(self, name: str, version: int | None) -> dict[str, Any]:
        statuses = self._watcher.statuses if name == self._watcher.name else {}
        if version is not None:
            statuses = {number: status for number, status in statuses.items() if number == version}
        if not statuses:
            which = "any versions" if version is None else f"version {version}"
            raise RequestError(404, f"Could not find {which} of model {name}")
        return {
            "model_version_status": [
                {"version": str(number), "state": state, "status": {"error_code": code, "error_message": message}}
                for number, (state, code, message) in statuses.items()
            ]
        }

    def _metadata(self, name: str, version: int | None) -> dict[str, Any]:
        model = self._model(name, version)
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(model.version)},
            "metadata": {"signature_def": {"signature_def": model.signature_def}},
        }

    def _model(self, name: str, version: int | None) -> SavedModel:
        """Return the version that a path asks for, if that version is in service."""
        model = self._watcher.current
        if model is None or name != self._watcher.name or version not in (None, model.version):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RequestError(404, f"Servable not found for request: {asked}")
        return model


def _asked(found: re.Match[str]) -> tuple[str, int | None]:
    """Return the name and the version of a path; the version is None for the newest one."""
    if found["label"] is not None:
        raise RequestError(400, f"Unrecognized servable version label: {unquote(found['label'][:_LONGEST_SHOWN])}")
    digits = found["version"]
    # Python converts no number of thousands of digits.
    if digits and (len(digits) > len(str(LARGEST_VERSION)) or int(digits) > LARGEST_VERSION):
        raise RequestError(400, f"Failed to convert version: {digits[:_LONGEST_SHOWN]} to numeric.")
    return unquote(found["name"]), int(digits) if digits else None


def _malformed(method: str, path: str) -> RequestError:
    """Make the error of a path with nothing there; below /v1/, TensorFlow Serving calls the request malformed."""
    if path[:4].lower() == "/v1/":
        return RequestError(400, f"Malformed request: {method[:20]} {path[:_LONGEST_SHOWN]}")
    return RequestError(404, f"there is nothing at {path[:_LONGEST_SHOWN]}")
