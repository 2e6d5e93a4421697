"""A real server process, called over the loopback as TensorFlow Serving would be."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

from tf_trpo.serving.model_watcher import ModelWatcher

ROOT = Path(__file__).parents[2]


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def model(gaussian_agent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "Policy-v1"
    gaussian_agent.export(folder)
    return folder


@pytest.fixture(scope="module")
def server(model, start_server):
    return start_server(model, "--max-batch", 50, "--max-request-bytes", 20_000)


def test_rows_and_columns_of_every_endpoint_are_those_of_the_agent(server, gaussian_agent, observations, expected):
    inputs = observations(7)
    wanted = expected(gaussian_agent, inputs)
    outputs = {"act": ["actions"], "value": ["values"], "": ["actions"], "distribution": ["mean", "log_std"]}
    for signature, names in outputs.items():
        body = {"signature_name": signature} if signature else {}
        status, rows = server.post({**body, "instances": inputs.tolist()})
        assert status == 200
        status, columns = server.post({**body, "inputs": {"observations": inputs.tolist()}})
        assert status == 200
        if len(names) == 1:
            found = {names[0]: rows["predictions"]}
            assert columns == {"outputs": rows["predictions"]}
        else:
            found = {name: [row[name] for row in rows["predictions"]] for name in names}
            assert columns == {"outputs": found}
        for name in names:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5)


def test_samples_go_by_columns_and_are_those_of_the_agent(server, gaussian_agent, observations):
    inputs = observations(5)
    body = {"signature_name": "act_stochastic", "inputs": {"observations": inputs.tolist(), "seed": [9, 0]}}
    status, answer = server.post(body)
    assert status == 200
    np.testing.assert_allclose(
        answer["outputs"], gaussian_agent.predict(inputs, stochastic=True, seed=9), rtol=1e-5, atol=1e-5
    )


AVAILABLE = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_status_and_metadata_have_the_shape_of_tensorflow_serving(server):
    for path in ("", "/versions/1"):
        assert server.get(path) == (200, {"model_version_status": [AVAILABLE]})
        status, answer = server.get(path + "/metadata")
        assert status == 200
        assert answer["model_spec"] == {"name": "Policy-v1", "signature_name": "", "version": "1"}
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        assert {"act", "act_stochastic", "value", "distribution", "serving_default"} <= set(signatures)
        assert signatures["act"]["method_name"] == "tensorflow/serving/predict"
        assert signatures["act_stochastic"]["inputs"]["seed"] == {
            "name": "act_stochastic_seed:0",
            "dtype": "DT_INT32",
            "tensor_shape": {"dim": [{"size": "2", "name": ""}], "unknown_rank": False},
        }


ROW = {"instances": [[1, 2, 3]]}
REFUSED = {
    "unknown model": ("POST", "/v1/models/other:predict", ROW, 404, r"Servable not found for request: Latest\(other\)"),
    "unknown version": ("POST", "/versions/9:predict", ROW, 404, r"not found for request: Specific\(Policy-v1, 9\)"),
    "status of an unknown model": ("GET", "/v1/models/other", None, 404, "Could not find any versions of model other"),
    "status of an unknown version": ("GET", "/versions/9", None, 404, "Could not find version 9 of model Policy-v1"),
    "metadata of an unknown version": ("GET", "/versions/9/metadata", None, 404, "Servable not found"),
    "a version with a name": ("POST", "/versions/new:predict", ROW, 400, "Malformed request: POST"),
    "a version beyond int64": ("GET", "/versions/" + "9" * 5000, None, 400, "Failed to convert version"),
    "a version beyond int64 by one": ("GET", f"/versions/{2**63}", None, 400, "Failed to convert version: 9223372036"),
    "the largest version": ("GET", f"/versions/{2**63 - 1}", None, 404, "Could not find version 9223372036854775807"),
    "a label": ("POST", "/labels/stable:predict", ROW, 400, "Unrecognized servable version label: stable"),
    "no model": ("GET", "/v1/models", None, 400, "Missing model name in request."),
    "no model, but a version": ("GET", "/v1/models/versions/1", None, 400, "Missing model name in request."),
    "no path": ("GET", "/v1/", None, 400, "Malformed request: GET /v1/"),
    "a slash at the end": ("GET", "/", None, 400, "Malformed request: GET /v1/models/Policy-v1/"),
    "a slash within a name": ("GET", "/v1/models/a%2Fmetadata", None, 404, "any versions of model a/metadata"),
    "another method": ("POST", ":guess", ROW, 400, "Malformed request: POST"),
    "classify": ("POST", ":classify", ROW, 400, "the model has no endpoint for this method"),
    "predict by GET": ("GET", ":predict", None, 400, "Malformed request: GET /v1/models/Policy-v1:predict"),
    "status by POST": ("POST", "", ROW, 400, "Malformed request: POST /v1/models/Policy-v1"),
    "a method in capitals": ("POST", ":PREDICT", ROW, 400, "Malformed request: POST /v1/models/Policy-v1:PREDICT"),
    "status by PUT": ("PUT", "", b"{}", 400, "Malformed request: PUT"),
    "another path": ("GET", "/metrics", None, 404, "there is nothing at /metrics"),
    "an empty body": ("POST", ":predict", b"", 400, "The document is empty"),
    "unknown signature": (
        "POST",
        ":predict",
        {**ROW, "signature_name": "guess"},
        400,
        '"guess" not found in signature',
    ),
    "wrong shape": ("POST", ":predict", {"instances": [[1, 2]]}, 400, r"'observations': expected shape \[\?,3\]"),
    "wrong type": ("POST", ":predict", {"instances": [[1, 2, "3"]]}, 400, "is not of expected type"),
    "large batch": ("POST", ":predict", {"instances": [[1, 2, 3]] * 51}, 400, "batch of 51 is larger than .* of 50"),
    "large body": ("POST", ":predict", b'{"x": "' + b"a" * 20_000 + b'"}', 413, "larger than the largest of 20000"),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_answered_gets_a_status_and_a_message(server, method, path, body, status, words):
    found, answer = server.request(method, path, body)
    assert found == status
    assert set(answer) == {"error"}
    assert re.search(words, answer["error"])


def test_paths_are_matched_in_any_case_and_names_decoded_as_by_tensorflow_serving(server):
    for path in ("/V1/Models/Policy-v1", "/v1/models/Policy%2Dv1", "/v1/models/Policy-v1/VERSIONS/1"):
        assert server.get(path) == (200, {"model_version_status": [AVAILABLE]})
        assert server.request("POST", path + ":predict", ROW)[0] == 200
        assert "model_spec" in server.get(path + "/metadata")[1]
    # Its own peculiarity: in capitals this is the status.
    assert server.get("/METADATA") == (200, {"model_version_status": [AVAILABLE]})
    assert server.get("/v1/models/policy-v1")[0] == 404


def test_a_body_without_a_length_is_read_no_further_than_the_limit(server):
    chunks = (b" " * 4096 for _ in range(100_000))
    # A very long one, cut off.
    with server.connection() as connection, pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.request("POST", server.path + ":predict", chunks, encode_chunked=True)
    assert server.post(ROW)[0] == 200


def test_one_connection_serves_request_after_request_also_after_errors(server):
    with server.connection() as connection:
        statuses = [server.post(body, connection=connection)[0] for body in (ROW, b"{", ROW, {"instances": []}, ROW)]
    assert statuses == [200, 400, 200, 400, 200]


def test_answers_are_not_held_back(server):
    """Nagle's algorithm would hold an answer back until the client's delayed acknowledgement, for 40 ms."""
    with server.connection() as connection:
        times = []
        for _ in range(100):
            start = time.perf_counter()
            assert server.post(ROW, connection=connection)[0] == 200
            times.append(time.perf_counter() - start)
    assert min(times) < 0.03


def test_many_clients_at_once_each_get_their_own_answer(server, gaussian_agent, observations):
    """Their requests are put together, and apart again."""
    inputs = observations(200)
    parts = np.split(inputs, np.cumsum([1, 2, 3, 4] * 19)[:-1])
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda part: server.post({"instances": part.tolist()}), parts))
    assert {status for status, _ in answers} == {200}
    assert [len(answer["predictions"]) for _, answer in answers] == [len(part) for part in parts]
    actions = np.concatenate([answer["predictions"] for _, answer in answers])
    np.testing.assert_allclose(actions, gaussian_agent.predict(inputs), rtol=1e-5, atol=1e-5)


def test_it_listens_at_one_address_only(server):
    """Linux answers at all of 127.0.0.0/8: a server that listened at every address would answer here."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5).close()


def test_it_waits_for_no_library_but_tensorflow(model):
    """Keras is there: TensorFlow imports it itself, where it is installed."""
    program = (
        "import sys, pathlib, tf_trpo.serving.server\n"
        "from tf_trpo.serving.model_watcher import ModelWatcher\n"
        f"watcher = ModelWatcher(pathlib.Path({str(model)!r})); watcher.look()\n"
        "assert watcher.current is not None, watcher.statuses\n"
        "print([name for name in ('tf_keras', 'tensorflow_probability', 'gymnasium') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture
def copies(model, categorical_agent, tmp_path):
    """A model folder of its own with version 1; and another agent's export, to become other versions."""
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    other = Path(categorical_agent.export(tmp_path / "other"))
    return folder, other


def statuses(server):
    return {entry["version"]: entry for entry in server.get()[1]["model_version_status"]}


def test_new_versions_come_and_go_and_no_request_is_dropped(copies, start_server):
    folder, other = copies
    server = start_server(folder)
    answers, ended = [], threading.Event()

    def ask():
        with server.connection() as connection:
            while not ended.is_set():
                answers.append(server.post(ROW, connection=connection))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        # Half of a copy: its sums do not match yet.
        shutil.copytree(other, folder / "2", ignore=shutil.ignore_patterns("variables.data*"))
        until(lambda: statuses(server).get("2", {}).get("state") == "END")
        assert statuses(server)["1"]["state"] == "AVAILABLE"
        said = statuses(server)["2"]["status"]
        assert said["error_code"] == "FAILED_PRECONDITION"
        assert "is not whole: variables/variables.data" in said["error_message"]
        # The other half.
        shutil.copytree(other, folder / "2", dirs_exist_ok=True)
        until(lambda: statuses(server)["2"]["state"] == "AVAILABLE")
        assert statuses(server)["1"]["state"] == "END"
        assert server.post(ROW, "/versions/1:predict")[0] == 404
        # A newer one that is no model at all changes nothing.
        (folder / "3").mkdir()
        (folder / "3" / "saved_model.pb").write_bytes(b"no model")
        until(lambda: statuses(server).get("3", {}).get("state") == "END")
        assert statuses(server)["2"]["state"] == "AVAILABLE"
        assert list(statuses(server)) == ["3", "2", "1"]
        # The newest is taken away: back to the one before.
        shutil.rmtree(folder / "2")
        until(lambda: statuses(server)["1"]["state"] == "AVAILABLE")
        time.sleep(0.3)  # some looks more
    finally:
        ended.set()
        for client in clients:
            client.join()
        assert server.stop() == 0
    assert {status for status, _ in answers} == {200}
    # A Gaussian's action, an array, and a number of the categorical policy of version 2; one after the other.
    kinds = [type(answer["predictions"][0]) for _, answer in answers]
    assert {list, int} == set(kinds)


def seen(folder):
    watcher = ModelWatcher(folder)
    watcher.look()
    return watcher, watcher.current


def test_other_files_under_the_number_in_service_are_loaded(copies):
    folder, other = copies
    watcher, first = seen(folder)
    watcher.look()
    assert watcher.current is first
    shutil.rmtree(folder / "1")
    watcher.look()
    assert watcher.current is first
    shutil.copytree(other, folder / "1")
    watcher.look()
    assert watcher.current is not first
    assert watcher.current.metadata.action_space["type"] == "Discrete"
    assert watcher.statuses == {1: ("AVAILABLE", "OK", "")}


def test_files_that_are_damaged_under_the_number_in_service_replace_nothing(copies):
    folder, other = copies
    shutil.copytree(other, folder / "2")
    watcher, second = seen(folder)
    good = (folder / "2" / "saved_model.pb").read_bytes()
    (folder / "2" / "saved_model.pb").write_bytes(b"no model")
    watcher.look()
    assert watcher.current is second
    assert list(watcher.statuses) == [2]
    assert watcher.statuses[2][:2] == ("AVAILABLE", "FAILED_PRECONDITION")
    assert "saved_model.pb is missing, changed or new" in watcher.statuses[2].error_message
    (folder / "2" / "saved_model.pb").write_bytes(good)
    watcher.look()
    assert watcher.current.version == 2
    assert watcher.statuses == {2: ("AVAILABLE", "OK", "")}
    # A version that was replaced comes back, though its files did not change.
    shutil.move(folder / "2", folder / "aside")
    watcher.look()
    assert watcher.current.version == 1
    shutil.move(folder / "aside", folder / "2")
    watcher.look()
    assert watcher.current.version == 2


def test_a_version_that_no_request_could_name_is_not_taken_into_service(copies):
    folder, other = copies
    shutil.copytree(other, folder / str(2**63))
    watcher, current = seen(folder)
    assert current.version == 1
    assert list(watcher.statuses) == [1]


def foreign_model(folder):
    """A SavedModel that tf_trpo did not write."""
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    network.export(str(folder / "1"), format="tf_saved_model", verbose=False)
    return network


def refusal(folder, *options):
    done = subprocess.run(
        [sys.executable, "-m", "tf_trpo", "serve", str(folder), "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


def test_programs_of_others_are_loaded_only_when_they_are_trusted(tmp_path, observations):
    network = foreign_model(tmp_path)
    for trust in (False, True):
        watcher = ModelWatcher(tmp_path, trust=trust)
        watcher.look()
        if not trust:
            assert watcher.current is None
            assert "tf_trpo did not write it" in watcher.statuses[1].error_message
    assert watcher.current.metadata is None
    signature = watcher.current.signature("")
    (outputs,) = signature(dict.fromkeys(signature.inputs, observations(4))).values()
    np.testing.assert_allclose(outputs, network(observations(4)), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_programs_of_others_are_served_only_when_they_are_trusted(tmp_path, observations, start_server):
    network = foreign_model(tmp_path)
    said = refusal(tmp_path)
    assert "has no assets.extra/tf_trpo.json: tf_trpo did not write it" in said
    assert "a SavedModel is a program: --trust serves" in said
    server = start_server(tmp_path, "--trust", "--name", "foreign")
    assert server.path == "/v1/models/foreign"
    status, answer = server.post({"instances": observations(4).tolist()})
    assert status == 200
    np.testing.assert_allclose(answer["predictions"], network(observations(4)), rtol=1e-5, atol=1e-5)
    assert server.stop() == 0


def started(*arguments):
    command = [sys.executable, *map(str, arguments), "--port", "0"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.slow
@pytest.mark.parametrize("milliseconds", [0, 1, 5])
def test_a_signal_right_after_the_announcement_is_a_graceful_stop(model, milliseconds):
    with started("-m", "tf_trpo", "serve", model) as process:
        assert any(" at http" in line for line in process.stderr)
        time.sleep(milliseconds / 1000)
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


SIGNAL_AT_A_MOMENT = """
import logging, os, signal, sys, uvicorn
from tf_trpo.cli import main

moment, run = sys.argv.pop(1), uvicorn.Server.run

class Announcement(logging.Handler):
    def emit(self, record):
        if moment == "announced" and " at http" in record.getMessage():
            os.kill(os.getpid(), signal.SIGTERM)

def signal_and_run(self, *args, **kwargs):
    if moment == "before it runs":
        os.kill(os.getpid(), signal.SIGTERM)
    run(self, *args, **kwargs)

uvicorn.Server.run = signal_and_run
logging.getLogger("tf_trpo").addHandler(Announcement())
main(["serve", *sys.argv[1:]])
"""


def test_a_signal_at_the_worst_moments_is_a_graceful_stop(model):
    """While the announcement is made, and before uvicorn has handlers of its own."""
    processes = [started("-c", SIGNAL_AT_A_MOMENT, moment, model) for moment in ("announced", "before it runs")]
    try:
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


SLOW_MODEL = """
import sys
import tensorflow as tf

class Slow(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="observations")])
    def act(self, observations):
        # By the clock, whatever the machine. Zeros are the server's own, before the version is in service.
        end = tf.timestamp() + tf.where(observations[0, 0] > 0, tf.constant(3.0, tf.float64), 0)
        looks = tf.while_loop(lambda i: tf.timestamp() < end, lambda i: (i + 1,), (0,))
        # The result takes part in the answer, or the loop would be left out.
        return {"actions": observations[:, 0] + tf.cast(tf.minimum(looks[0], 0), tf.float32)}

slow = Slow()
tf.saved_model.save(slow, sys.argv[1], signatures={"serving_default": slow.act})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_lets_the_requests_in_flight_be_answered(tmp_path, number, start_server):
    subprocess.run([sys.executable, "-c", SLOW_MODEL, str(tmp_path / "1")], check=True, capture_output=True)
    server = start_server(tmp_path, "--trust", "--name", "slow")
    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(server.post, ROW) for _ in range(2)]
        time.sleep(1)
        assert not any(answer.done() for answer in asked)
        server.process.send_signal(number)
        assert [answer.result() for answer in asked] == [(200, {"predictions": [1.0]})] * 2
    assert server.process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        server.get()
