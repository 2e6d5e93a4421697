"""A policy behind a predict URL, of our server or of TensorFlow Serving."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from tf_trpo.spaces.specs import named, unnamed

_LARGEST_ANSWER = 2**26

_PATH = re.compile(r"/v1/models/[^/:]+(/versions/\d+)?")


class RemoteError(Exception):
    """A server does not answer, or answers with an error."""


class RemotePolicy:
    """Asks a server for actions.

    Args:
      url: of the model, http://HOST:PORT/v1/models/NAME, with /versions/VERSION or without.
      action: an action of the environment, or anything else of its structure: a server does not tell which outputs make
        a dict or a tuple.
      timeout: seconds to wait for an answer.

    Raises:
      ValueError: it is no such URL.
    """

    def __init__(self, url: str, action: Any = None, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _PATH.fullmatch(parts.path):
            raise ValueError(f"{url} is no URL of a model: http://HOST:PORT/v1/models/NAME")
        connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connection(parts.hostname, parts.port, timeout=timeout)
        self._action = action
        self._path = parts.path + ":predict"
        self._where = f"{self._connection.host}:{self._connection.port}{self._path}"

    def act(self, observations: Any, seed: tuple[int, int] | None = None) -> Any:
        """Ask for actions for observations: the mode, or sampled with a seed.

        Args:
          observations: as a vector environment gives them, a nest of arrays [N, ...].
          seed: two numbers; the same ones give the same actions.

        Returns:
          Actions in the structure that a vector environment takes, an array [N, ...] or a nest of arrays, as the JSON
          of the answer has them: int64 or float64.

        Raises:
          RemoteError: the server cannot be reached, refuses, or does not answer with one action for each observation.
        """
        inputs = {name: np.asarray(part).tolist() for name, part in named("observations", observations).items()}
        count = len(next(iter(inputs.values())))
        if seed is not None:
            inputs["seed"] = list(seed)
        signature = "act" if seed is None else "act_stochastic"
        answer = self._ask(json.dumps({"signature_name": signature, "inputs": inputs}).encode())
        names = list(named("actions", self._action))
        try:
            outputs = answer["outputs"] if len(names) > 1 else {names[0]: answer["outputs"]}
            actions = {name: np.asarray(outputs[name]) for name in names}
        except (LookupError, TypeError, ValueError):
            raise RemoteError(f"{self._where} answers without outputs") from None
        if any(rows.dtype.kind not in "biuf" or rows.shape[:1] != (count,) for rows in actions.values()):
            raise RemoteError(f"{self._where} answers with outputs that are no action for each observation")
        return unnamed("actions", self._action, actions)

    def close(self) -> None:
        self._connection.close()

    def _ask(self, body: bytes) -> dict[str, Any]:
        try:
            try:
                response = self._post(body)
            except ConnectionError:
                # A server may close a connection that was idle; to ask again changes nothing there.
                self.close()
                response = self._post(body)
            answer = msgspec.json.decode(response.read(_LARGEST_ANSWER), type=dict[str, Any])
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            self.close()
            raise RemoteError(f"{self._where}: {error}") from None
        if response.status != http.HTTPStatus.OK:
            raise RemoteError(f"{self._where} answers with status {response.status}: {answer.get('error')}")
        return answer

    def _post(self, body: bytes) -> http.client.HTTPResponse:
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        return self._connection.getresponse()
