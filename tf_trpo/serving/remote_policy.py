"""A policy behind a predict URL, of our server or of TensorFlow Serving."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any
from urllib.parse import urlsplit

import numpy as np

_PATH = re.compile(r"/v1/models/[^/:]+(/versions/\d+)?")
_LARGEST_ANSWER = 2**26


class RemoteError(Exception):
    """A server does not answer, or answers with an error."""


class RemotePolicy:
    """Asks a server for actions.

    Args:
      url: of the model, http://HOST:PORT/v1/models/NAME, with /versions/VERSION or without.
      timeout: seconds to wait for an answer.

    Raises:
      ValueError: it is no such URL.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _PATH.fullmatch(parts.path):
            raise ValueError(f"{url} is no URL of a model: http://HOST:PORT/v1/models/NAME")
        connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connection(parts.hostname, parts.port, timeout=timeout)
        self._path = parts.path + ":predict"
        self._where = f"{self._connection.host}:{self._connection.port}{self._path}"

    def act(self, observations: np.ndarray, seed: tuple[int, int] | None = None) -> np.ndarray:
        """Ask for actions [N, ...] for observations [N, ...]: the mode, or sampled with a seed.

        Raises:
          RemoteError: the server cannot be reached, refuses, or does not answer with one action for each observation.
        """
        inputs: dict[str, Any] = {"observations": np.asarray(observations, np.float32).tolist()}
        if seed is not None:
            inputs["seed"] = list(seed)
        signature = "act" if seed is None else "act_stochastic"
        answer = self._ask(json.dumps({"signature_name": signature, "inputs": inputs}).encode())
        try:
            actions = np.asarray(answer["outputs"])
        except (KeyError, ValueError, RecursionError):
            raise RemoteError(f"{self._where} answers without outputs") from None
        if actions.dtype.kind not in "iuf" or actions.shape[:1] != (len(observations),):
            raise RemoteError(f"{self._where} answers with outputs that are no action for each observation")
        return actions

    def close(self) -> None:
        self._connection.close()

    def _ask(self, body: bytes) -> dict[str, Any]:
        try:
            try:
                response = self._post(body)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # A server may close a connection that was idle; to ask again changes nothing there.
                self.close()
                response = self._post(body)
            answer = json.loads(response.read(_LARGEST_ANSWER))
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            self.close()
            raise RemoteError(f"{self._where}: {error}") from None
        if response.status != http.HTTPStatus.OK or not isinstance(answer, dict):
            said = answer.get("error") if isinstance(answer, dict) else None
            raise RemoteError(f"{self._where} answers with status {response.status}: {said}")
        return answer

    def _post(self, body: bytes) -> http.client.HTTPResponse:
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        return self._connection.getresponse()
