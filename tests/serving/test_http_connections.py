"""Connections that hold on to the server without asking: closed in time, and limited in number."""

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
def server(gaussian_agent, tmp_path_factory, start_server):
    folder = tmp_path_factory.mktemp("models") / "policy"
    gaussian_agent.export(folder)
    return start_server(folder, "--timeout", SECONDS, "--max-connections", MOST)


@pytest.fixture
def connect(server):
    """connect(data): a raw connection that has sent these bytes."""
    with contextlib.ExitStack() as stack:

        def connect(data=b""):
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
            raw.sendall(data)
            return raw

        yield connect


def said(raw):
    """Everything until the server closes, and after how many seconds it did."""
    start, received = time.monotonic(), b""
    with contextlib.suppress(ConnectionResetError):
        while part := raw.recv(65_536):
            received += part
    return received, time.monotonic() - start


def answer(raw):
    """One answer's bytes: its body is a JSON object."""
    received = raw.recv(65_536)
    while received and not received.endswith(b"}"):
        received += raw.recv(65_536)
    return received


def predict(server, body=b'{"instances": [[1, 2, 3]]}', length=None):
    head = f"POST {server.path}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_head_that_does_not_end_is_given_up(server, connect):
    beginnings = (b"", b"G", b"POST /v1/models/policy:predict HTTP/1.1\r\nHost: x\r\nX: ")
    for raw in [connect(data) for data in beginnings]:
        refusal, _ = said(raw)
        assert refusal.startswith(b"HTTP/1.1 408 ")
        assert b'{"error":"the request did not arrive within 1 s"}' in refusal


def test_a_head_that_comes_drop_by_drop_is_given_up(server, connect):
    raw = connect(b"GET / HTTP/1.1\r\n")
    start = time.monotonic()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while time.monotonic() < start + 20:
            raw.sendall(b"X: y\r\n")
            time.sleep(0.1)
    assert time.monotonic() - start < 10


def test_the_second_head_of_a_connection_is_timed_as_well(server, connect):
    for data in (predict(server) + b"POST /v1", predict(server)):
        raw = connect(data)
        assert answer(raw).startswith(b"HTTP/1.1 200 ")
        if not data.endswith(b"/v1"):
            raw.sendall(b"POST /v1")
        refusal, seconds = said(raw)
        assert refusal.startswith(b"HTTP/1.1 408 ")
        assert seconds < 20


def test_a_body_that_nobody_reads_is_not_waited_for(server, connect):
    """The model is unknown: the answer is there before the body is."""
    raw = connect(predict(server, b"{", 100).replace(b"policy", b"nobody"))
    assert answer(raw).startswith(b"HTTP/1.1 404 ")
    raw.sendall(b" ")
    rest, seconds = said(raw)
    assert rest == b""
    assert seconds < 20


def test_a_connection_may_be_idle_after_an_answer_for_longer_than_a_head_may_take(server, connect):
    raw = connect()
    for _ in range(2):
        raw.sendall(predict(server))
        assert answer(raw).startswith(b"HTTP/1.1 200 ")
        time.sleep(3 * SECONDS)
    raw.sendall(predict(server))
    assert answer(raw).startswith(b"HTTP/1.1 200 ")


def test_connections_beyond_the_limit_are_sent_away_and_silent_ones_lock_nobody_out(server, connect):
    silent = [connect(b"POST /v1/models/policy:predict HTTP/1.1\r\nX: ") for _ in range(MOST)]
    refusal, _ = said(connect())
    assert refusal.startswith(b"HTTP/1.1 503 ")
    assert b"there are 12 connections already" in refusal
    assert all(said(raw)[0].startswith(b"HTTP/1.1 408 ") for raw in silent)
    assert server.post(ROW)[0] == 200


@pytest.mark.parametrize(
    ("soft", "hard", "found", "raised"),
    [
        (1000, 1000, 500, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 500, None),
        (300, 1000, 500, (628, 1000)),
        (300, resource.RLIM_INFINITY, 500, (628, resource.RLIM_INFINITY)),
        (300, 400, 272, (400, 400)),
        (64, 64, 1, (64, 64)),
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
