"""A policy that asks a server for actions: tf_trpo's server or TensorFlow Serving."""

from __future__ import annotations

import base64
import http.client
import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import numpy as np

from tf_trpo.serving.metadata import EPISODES, INITIAL_STATE, check_episodes, is_state
from tf_trpo.serving.settings import in_url
from tf_trpo.spaces.specs import named, unnamed

_LARGEST_ANSWER = 2**26

_PATH = re.compile(r"/v1/models/[^/:]+(/versions/\d+)?")


class RemoteError(Exception):
    """The server does not answer, or answers with an error."""


class VersionReplacedError(RemoteError):
    """The server no longer serves the version that the memory's state belongs to; the episode can only begin again."""


class RemotePolicy:
    """Asks a server for actions.

    Args:
      url: URL of the model, http://HOST:PORT/v1/models/NAME, with /versions/VERSION or without. A user and a password
        before the host, http://USER:PASSWORD@HOST, are sent by HTTP basic authentication.
      action: an action of the environment, or any nest of the same structure. It is needed because a server does not
        say how outputs form a dict or a tuple.
      timeout: seconds to wait for an answer.

    Raises:
      ValueError: the URL has another form.
    """

    def __init__(self, url: str, action: Any = None, timeout: float = 30.0) -> None:
        self._connection, self._path, self._headers = _connection(url, timeout)
        self._action = action
        self._state_names: list[str] | None = None
        self._state: dict[str, Any] = {}
        self._version = ""
        """End of the path to the version that the memory's state belongs to."""
        self._where = f"{in_url(self._connection.host)}:{self._connection.port}{self._path}"

    def begin(self) -> None:
        """Reset the memory: the next observations, all rows of them, are the first ones of their episodes."""
        self._state, self._version, self._state_names = {}, "", None

    def act(self, observations: Any, seed: tuple[int, int] | None = None) -> Any:
        """Ask the server for actions for observations.

        The server keeps nothing between requests. If the model has a memory, the answer holds the memory's state, which
        is sent with the next observations, to the same version of the model until `begin`.

        Args:
          observations: a nest of arrays [N, ...], as a vector environment returns them.
          seed: two numbers; actions are sampled, and equal seeds give equal actions. None: the distribution's mode.

        Returns:
          Actions in the structure that a vector environment takes, an array [N, ...] or a nest of arrays, with the
          dtypes of the answer's JSON: int64 or float64.

        Raises:
          VersionReplacedError: the server no longer serves the version that the memory's state belongs to.
          RemoteError: the server cannot be reached, refuses, or does not answer with one action for each observation.
        """
        inputs = {name: np.asarray(part).tolist() for name, part in named("observations", observations).items()}
        count = len(next(iter(inputs.values())))
        names = list(named("actions", self._action))
        if not self._state and self._state_names != []:
            self._begin_with(count)
        states = self._state_names or []
        check_episodes(self._state, count, RemoteError)
        inputs |= self._state
        if seed is not None:
            inputs["seed"] = list(seed)
        outputs = self._predicted("act" if seed is None else "act_stochastic", inputs, [*names, *states])
        try:
            actions = {name: np.asarray(outputs[name]) for name in names}
        except ValueError:
            raise RemoteError(f"{self._where} answers without outputs") from None
        if any(rows.dtype.kind not in "biuf" or rows.shape[:1] != (count,) for rows in actions.values()):
            raise RemoteError(f"{self._where} answers with outputs that are not one action for each observation")
        self._state = {name: outputs[name] for name in states}
        return unnamed("actions", self._action, actions)

    def close(self) -> None:
        self._connection.close()

    def _begin_with(self, count: int) -> None:
        """Ask for the states in which episodes begin if there is a memory, and keep to the version that is served now.

        Without a memory, this happens once until `begin`.
        """
        self._version = ""
        answer = self._ask("GET", "/metadata")
        try:
            inputs = answer["metadata"]["signature_def"]["signature_def"]["act"]["inputs"]
            self._state_names = sorted(filter(is_state, inputs.keys()))
        except (LookupError, TypeError, AttributeError):
            raise RemoteError(f"{self._where} says nothing of an endpoint act") from None
        if not self._state_names:
            return
        try:
            self._version = "" if "/versions/" in self._path else f"/versions/{int(answer['model_spec']['version'])}"
        except (LookupError, TypeError, ValueError):
            raise RemoteError(f"{self._where} does not say which version of the model it serves") from None
        self._state = self._predicted(INITIAL_STATE, {EPISODES: [0] * count}, self._state_names)

    def _predicted(self, signature: str, inputs: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """Ask an endpoint for the outputs of the given names."""
        answer = self._ask("POST", ":predict", json.dumps({"signature_name": signature, "inputs": inputs}).encode())
        try:
            # A single output has no name in the answer. A state is never the only output.
            is_lone = len(names) == 1 and not is_state(names[0])
            return {name: answer["outputs"] if is_lone else answer["outputs"][name] for name in names}
        except (LookupError, TypeError):
            raise RemoteError(f"{self._where} answers without outputs") from None

    def _ask(self, method: str, what: str, body: bytes | None = None) -> dict[str, Any]:
        try:
            try:
                response = self._send(method, what, body)
            except ConnectionError:
                # A server may close an idle connection. Repeating the request is safe: the server keeps no state.
                self.close()
                response = self._send(method, what, body)
            content = response.read(_LARGEST_ANSWER)
            if response.status == http.HTTPStatus.OK:
                return msgspec.json.decode(content, type=dict[str, Any])
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            self.close()
            raise RemoteError(f"{self._where}: {error}") from None
        self.close()
        # A server that stands in between, such as a proxy, may answer with text or HTML.
        try:
            reason = msgspec.json.decode(content, type=dict[str, Any]).get("error")
        except (ValueError, RecursionError):
            reason = None
        what = f"{self._where} answers with status {response.status}" + (f": {reason}" if reason else "")
        if self._version and response.status == http.HTTPStatus.NOT_FOUND:
            raise VersionReplacedError(
                f"{what}; the memory's state is of that version, so call begin() for new episodes"
            )
        raise RemoteError(what)

    def _send(self, method: str, what: str, body: bytes | None) -> http.client.HTTPResponse:
        self._connection.request(method, self._path + self._version + what, body, self._headers)
        return self._connection.getresponse()


def _connection(url: str, timeout: float) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """Return a connection, which is not open yet, to the server of a model's URL, the URL's path, and headers."""
    try:
        parts = urlsplit(url)
        is_model = _PATH.fullmatch(parts.path) and not (parts.query or parts.fragment)
        if parts.scheme in ("http", "https") and parts.hostname and is_model:
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            headers = {"Content-Type": "application/json"}
            if parts.username is not None:
                named = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
                headers["Authorization"] = f"Basic {base64.b64encode(named.encode()).decode()}"
            return kind(parts.hostname, parts.port, timeout=timeout), parts.path, headers
    except (ValueError, http.client.InvalidURL):
        # The port or the host cannot be read. The message says the same for each wrong part.
        pass
    raise ValueError(f"{url} is not the URL of a model: http://HOST:PORT/v1/models/NAME")
