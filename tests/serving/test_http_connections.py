"""Limits of connections to a real server: in time, in number, and by open files."""

import contextlib
import resource
import socket
import time

import pytest

from tf_trpo.serving.server import _connections

SECONDS = 1.0
MOST = 12
ROW = {"instances": [[1, 2, 3]]}


@pytest.fixture(scope="module")
def server(model, start_server):
    return start_server(model, "--name", "policy", "--timeout", SECONDS, "--max-connections", MOST)


@pytest.fixture
def connect(server):
    """connect(data): a raw connection that has sent these bytes, with a small buffer of its own."""
    with contextlib.ExitStack() as stack:

        def connect(data=b""):
            raw = stack.enter_context(socket.socket())
            raw.settimeout(30)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", server.port))
            raw.sendall(data)
            return raw

        yield connect


def said(raw):
    """Everything until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := raw.recv(65_536):
            received += part
    return received


def answer(raw):
    """One answer's bytes: its body is a JSON object."""
    received = raw.recv(65_536)
    while received and not received.endswith(b"}"):
        received += raw.recv(65_536)
    return received


def predict(server, body=b'{"instances": [[1, 2, 3]]}', length=None):
    head = f"POST {server.path}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_body_that_comes_drop_by_drop_is_given_up_and_the_connection_closed(server, connect):
    raw = connect(predict(server, b"{", 1000))
    start = time.monotonic()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while time.monotonic() < start + 20:
            raw.sendall(b" ")
            time.sleep(0.1)
    assert SECONDS < time.monotonic() - start < 10
    refusal = said(connect(predict(server, b"{", 1000)))
    assert refusal.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"the request did not arrive within 1 s"}' in refusal


def test_a_connection_may_be_idle_after_an_answer_for_longer_than_a_body_may_take(server, connect):
    raw = connect()
    for pause in (2 * SECONDS, 0):
        raw.sendall(predict(server))
        assert answer(raw).startswith(b"HTTP/1.1 200 ")
        time.sleep(pause)


def test_requests_of_connections_beyond_the_limit_are_refused(server, connect):
    answered = [connect(predict(server)) for _ in range(MOST)]
    assert all(answer(raw).startswith(b"HTTP/1.1 200 ") for raw in answered)
    for _ in range(2):
        assert said(connect(predict(server))).startswith(b"HTTP/1.1 503 ")
    answered[0].sendall(predict(server))
    assert answer(answered[0]).startswith(b"HTTP/1.1 200 ")
    answered[0].close()
    time.sleep(0.2)
    assert server.post(ROW)[0] == 200


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux")
def test_a_client_that_takes_none_of_its_answers_loses_the_connection(server, connect):
    asked = f"GET {server.path}/metadata HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    raw = connect()
    # Once the answers fill all buffers, no more requests are taken either.
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        raw.sendall(asked * 1_000_000)


@pytest.mark.parametrize(
    ("soft", "hard", "found", "raised"),
    [
        (1000, 1000, 500, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 500, None),
        (300, 1000, 500, (628, 1000)),
        (300, resource.RLIM_INFINITY, 500, (628, resource.RLIM_INFINITY)),
        (300, 400, 272, (400, 400)),
        (64, 64, 1, None),
    ],
)
def test_there_are_no_more_connections_than_descriptors(monkeypatch, caplog, soft, hard, found, raised):
    """By what the operating system would say and be told: limits of the process of the tests stay as they are."""
    told = [None]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: told.append(limits))
    assert _connections(500) == found
    assert told[-1] == raised
    assert (f"at most {found} connections: the limit of open files is {hard}" in caplog.text) == (found < 500)
