"""TensorFlow Serving's REST API for one model, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import unquote

import orjson

from tf_trpo.cores import available_cores
from tf_trpo.serving.batching import Batcher
from tf_trpo.serving.json_tensors import PredictRequest, RequestError, parse_inputs, parse_request, predict_answer
from tf_trpo.serving.model_watcher import ModelWatcher
from tf_trpo.serving.saved_model import Arrays, ModelError, SavedModel, Signature
from tf_trpo.serving.settings import ServerSettings

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_T = TypeVar("_T")
_logger = logging.getLogger(__name__)

_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/([0-9]{1,19}))?(:predict|/metadata|)")
_LONGEST = 1000
"""Maximum number of characters of an error message, since clients may send names of any length."""
_BODY_NOT_READ = (408, 413, 503)
"""Statuses after which the connection is closed, because the rest of the body may still arrive."""
_INLINE_BYTES = 16_384
"""Larger bodies are parsed and written in a worker thread, so that other requests do not wait for them."""


class RestApi:
    """The ASGI application; it handles scopes of type "http" only."""

    def __init__(self, watcher: ModelWatcher, settings: ServerSettings) -> None:
        self._watcher = watcher
        self._settings = settings
        self._batcher = Batcher(settings.threads or available_cores(), settings.max_batch, together=settings.batching)
        self._in_flight = 0

    def close(self) -> None:
        """Wait for the model's calls to end."""
        self._batcher.close()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        status, message = 200, ""
        try:
            body = await self._answer(scope["method"], scope["raw_path"].decode("ascii", "replace"), receive)
        except RequestError as error:
            status, message = error.status, str(error)
        except ModelError as error:
            status, message = 400, str(error)
        except Exception:
            _logger.exception("a request failed")
            status, message = 500, "the server failed to answer; its log says why"
        if status != 200:
            body = orjson.dumps({"error": message[:_LONGEST]})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status in _BODY_NOT_READ:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str, receive: Receive) -> bytes:
        if method == "POST" and self._in_flight >= self._settings.max_waiting:
            raise RequestError(503, f"{self._in_flight} requests are waiting already; try again later")
        self._in_flight += method == "POST"
        try:
            # The body is read even if the path is wrong, since the connection's next request begins after it.
            body = await self._body(receive) if method == "POST" else b""
            found = _PATH.fullmatch(path)
            if not found or method != ("POST" if found[3] == ":predict" else "GET"):
                # TensorFlow Serving answers with these statuses.
                raise RequestError(400 if path.startswith("/v1/") else 404, f"Malformed request: {method} {path}")
            name, version = unquote(found[1]), int(found[2]) if found[2] else None
            if method == "POST":
                return await self._while_there(receive, self._predict(self._model(name, version), body))
            look = self._metadata if found[3] else self._status
            return orjson.dumps(look(name, version))
        finally:
            self._in_flight -= method == "POST"

    async def _while_there(self, receive: Receive, predicting: Coroutine[Any, Any, bytes]) -> bytes:
        """Await a prediction, but cancel it at the time limit or if the client disconnects."""
        prediction = asyncio.create_task(predicting)
        # After the body, the next message can only be that the client has disconnected.
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
        run = asyncio.to_thread if len(body) > _INLINE_BYTES else _at_once
        request, signature, inputs = await run(self._read, model, body)
        outputs = await self._batcher.run(signature, inputs)
        return await run(predict_answer, outputs, by_row=request.by_row)

    def _read(self, model: SavedModel, body: bytes) -> tuple[PredictRequest, Signature, Arrays]:
        request = parse_request(body)
        signature = model.signatures.get(request.signature_name or "serving_default")
        if signature is None:
            there = ", ".join(sorted(model.signatures))
            raise RequestError(400, f'"{request.signature_name}" not found in signature def; there are {there}')
        return request, signature, parse_inputs(request, signature.inputs, self._settings.max_batch)

    async def _body(self, receive: Receive) -> bytes:
        """Read the body of a request; raise RequestError if it is too large or takes too long."""
        limit, body, more = self._settings.max_request_bytes, bytearray(), True
        try:
            async with asyncio.timeout(self._settings.timeout):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError(400, "the client went away")
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise RequestError(413, f"the request's body is larger than the limit of {limit} bytes")
                    more = message.get("more_body", False)
        except TimeoutError:
            raise RequestError(408, f"the request did not arrive within {self._settings.timeout:g} s") from None
        return bytes(body)

    def _status(self, name: str, version: int | None) -> dict[str, Any]:
        statuses = [
            {"version": str(number), "state": state, "status": {"error_code": code, "error_message": message}}
            for number, (state, code, message) in self._watcher.statuses.items()
            if name == self._watcher.name and version in (None, number)
        ]
        if not statuses:
            which = "any versions" if version is None else f"version {version}"
            raise RequestError(404, f"Could not find {which} of model {name}")
        return {"model_version_status": statuses}

    def _metadata(self, name: str, version: int | None) -> dict[str, Any]:
        model = self._model(name, version)
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(model.version)},
            "metadata": {"signature_def": {"signature_def": model.signature_def}},
        }

    def _model(self, name: str, version: int | None) -> SavedModel:
        """Return the version that a path asks for; raise RequestError if it is not in service."""
        model = self._watcher.current
        if model is None or name != self._watcher.name or version not in (None, model.version):
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise RequestError(404, f"Servable not found for request: {asked}")
        return model


async def _at_once(work: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    return work(*args, **kwargs)
