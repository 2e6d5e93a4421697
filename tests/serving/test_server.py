"""A real server on the loopback: limits of its connections, signals, and a process without Keras."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from tf_trpo.cli import main
from tf_trpo.serving.rest_api import RestApi
from tf_trpo.serving.saved_model import Signature
from tf_trpo.serving.server import _connections, _logger

ROOT = Path(__file__).parents[2]
ROW = {"instances": [[1, 2, 3]]}
SECONDS = 1.0
MOST = 12


@pytest.fixture(scope="module")
def limited(model, start_server):
    return start_server(model, "--name", "policy", "--timeout", SECONDS, "--max-connections", MOST)


def test_it_listens_at_one_address_only(limited):
    """Linux answers on all of 127.0.0.0/8, so a server that listened on every address would answer here."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", limited.port), timeout=5).close()


@pytest.fixture
def connect(limited):
    """connect(data): a raw connection with a small buffer that has sent the given bytes."""
    with contextlib.ExitStack() as stack:

        def connect(data=b""):
            raw = stack.enter_context(socket.socket())
            raw.settimeout(30)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", limited.port))
            raw.sendall(data)
            return raw

        yield connect


def said(raw):
    """All received bytes until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := raw.recv(65_536):
            received += part
    return received


def test_a_body_that_arrives_too_slowly_is_refused_and_the_connection_is_closed(limited, connect):
    head = f"POST {limited.path}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode()
    raw = connect(head)
    start = time.monotonic()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while time.monotonic() < start + 20:
            raw.sendall(b" ")
            time.sleep(0.1)
    assert SECONDS < time.monotonic() - start < 10
    refusal = said(connect(head))
    assert refusal.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"the request did not arrive within 1 s"}' in refusal


def test_a_connection_may_be_idle_after_an_answer_for_longer_than_a_body_may_take(limited):
    with limited.connection() as connection:
        for pause in (2 * SECONDS, 0):
            assert limited.post(ROW, connection=connection)[0] == 200
            port = connection.sock.getsockname()
            time.sleep(pause)
        assert connection.sock.getsockname() == port


@pytest.mark.parametrize(
    "head",
    # The first connection still works.
    [b"GET / HTTP/1.1\r\nX: " + b"a" * 17_000, b"\x00\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"],
)
def test_malformed_http_and_too_large_headers_are_refused_by_the_http_parser(connect, head):
    assert said(connect(head)).startswith(b"HTTP/1.1 400 ")


def test_requests_of_connections_beyond_the_limit_are_refused(limited, connect):
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(limited.connection()) for _ in range(MOST)]
        assert [limited.post(ROW, connection=connection)[0] for connection in connections] == [200] * MOST
        for _ in range(2):
            assert said(connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        assert limited.post(ROW, connection=connections[0])[0] == 200
    deadline = time.monotonic() + 10
    while limited.post(ROW)[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux")
def test_a_client_that_does_not_read_its_answers_loses_the_connection(limited, connect):
    asked = f"GET {limited.path}/metadata HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    raw = connect()
    # Once answers fill all buffers, no more requests are read either.
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
    """With a fake of the operating system's limits, so that those of the test process do not change."""
    told = [None]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: told.append(limits))
    assert _connections(500) == found
    assert told[-1] == raised
    assert (f"at most {found} connections: the limit of open files is {hard}" in caplog.text) == (found < 500)


@pytest.mark.parametrize(("place", "name"), [(_logger, "info"), (uvicorn.Server, "run")])
def test_a_signal_at_the_worst_moments_is_a_graceful_stop(model, place, name, monkeypatch):
    """While the address is logged, and before uvicorn has set its handlers."""
    original, before = getattr(place, name), signal.getsignal(signal.SIGINT)

    def signal_first(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        original(*args, **kwargs)

    monkeypatch.setattr(place, name, signal_first)
    try:
        main(["serve", str(model), "--port", "0"])
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_requests_in_flight_are_answered(model, number, start_server, monkeypatch, endpoint, until):
    original, made, make = Signature.__call__, [], RestApi.__init__

    def noted(self, *arguments, **settings):
        made.append(self)
        make(self, *arguments, **settings)

    def slow(self, inputs):
        # Zeros are the server's own call, before the version is in service.
        if inputs["observations"].any():
            endpoint({"x": inputs["observations"][:, 0]})
        return original(self, inputs)

    monkeypatch.setattr(Signature, "__call__", slow)
    monkeypatch.setattr(RestApi, "__init__", noted)
    server = start_server(model)
    [api] = made
    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(server.post, ROW) for _ in range(2)]
        until(lambda: endpoint.calls and api._in_flight == 2)
        server.handlers[number]()
        time.sleep(0.3)
        assert not any(answer.done() for answer in asked)
        endpoint.let_go.set()
        assert [answer.result()[0] for answer in asked] == [200, 200]
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        server.get()


PROGRAM = """
import json, sys

# As if they were not installed: importing them raises ModuleNotFoundError.
absent = ["keras", "tf_keras", "tensorflow_probability", "gymnasium"]
sys.modules.update(dict.fromkeys([*absent, "tf_trpo"]))
import numpy as np
import tensorflow as tf

signatures = tf.saved_model.load(sys.argv[1] + "/1").signatures
observations = tf.constant(json.loads(sys.argv[2]))
arguments = {"act": {}, "value": {}, "distribution": {}, "act_stochastic": {"seed": tf.constant([7, 0])}}
outputs = {name: signatures[name](observations=observations, **more) for name, more in arguments.items()}
print(json.dumps({name: {key: value.numpy().tolist() for key, value in found.items()}
                  for name, found in outputs.items()}), flush=True)
del sys.modules["tf_trpo"]
from tf_trpo.cli import main
main(["serve", sys.argv[1], "--port", "0"])
"""


def test_a_process_with_tensorflow_alone_runs_the_model_and_tf_trpo_serves_it_there(
    gaussian_agent, model, observations, expected
):
    inputs = observations(5)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(model), json.dumps(inputs.tolist())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    with process:
        try:
            said = process.stderr.readline()
            while said and " at http" not in said:
                said = process.stderr.readline()
            url = re.search(r"http://\S+", said)[0]
            with urllib.request.urlopen(
                f"{url}:predict", json.dumps({"instances": inputs.tolist()}).encode()
            ) as answer:
                actions = json.load(answer)["predictions"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            outputs = json.loads(process.stdout.read())
        finally:
            process.kill()
    wanted = expected(gaussian_agent, inputs)
    sampled = gaussian_agent.predict(inputs, stochastic=True, seed=7)
    np.testing.assert_allclose(outputs.pop("act_stochastic")["actions"], sampled, rtol=1e-5, atol=1e-5)
    found = {name: value for named in outputs.values() for name, value in named.items()}
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(actions, wanted["actions"], rtol=1e-5, atol=1e-5)
