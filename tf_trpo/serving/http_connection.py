"""A connection of uvicorn's that a client cannot hold on to without asking: limits in time and number."""

from __future__ import annotations

import asyncio
import http
from typing import Any

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol


class HttpConnection(H11Protocol):
    """HTTP/1.1, with a time limit for what the client has to do.

    uvicorn itself waits for ever for a client that has begun a request's head, or that does not read its answer. Here
    the client has `seconds` for each: from the connection's beginning, or the first byte after an answer, until the
    whole head of a request is there; and for reading on where an answer does not fit into the buffers. Bodies are timed
    by the application that reads them; a connection that is idle after an answer, by `timeout_keep_alive`.

    Args:
      seconds: see above.
      most: connections at the same time; a further one gets status 503.
      kwargs: of uvicorn's protocol.
    """

    def __init__(self, *args: Any, seconds: float, most: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seconds = seconds
        self._most = most
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._refuse(503, f"there are {self._most} connections already; try again later")
        else:
            self._hurry()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look(begun=True)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Half of the next head may be there already, or the end of the answer may still have to be read.
        self._look(begun=bool(self.conn.trailing_data[0]) or self.transport.is_closing())

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._hurry()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._hurry()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait()
        super().connection_lost(exc)

    def _look(self, *, begun: bool) -> None:
        """Find out whose turn it is; `begun`: the client's, if no request is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.flow.write_paused:
                self._wait()
        elif begun:
            self._hurry()

    def _hurry(self) -> None:
        """It is the client's turn, and its time runs, unless it runs already."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._seconds, self._give_up)

    def _wait(self) -> None:
        """It is not the client's turn."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.conn.our_state is h11.IDLE and not self.transport.is_closing():
            self._refuse(408, f"the request did not arrive within {self._seconds:g} s")
        else:
            self.transport.abort()

    def _refuse(self, status: int, message: str) -> None:
        body = orjson.dumps({"error": message})
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        response = h11.Response(status_code=status, headers=headers, reason=http.HTTPStatus(status).phrase)
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()
