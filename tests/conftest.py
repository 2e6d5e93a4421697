"""Fixtures of tests of documents, servers and models."""

import contextlib
import gc
import http.client
import json
import logging
import os
import queue
import re
import signal
import sys
import tempfile
import threading
from pathlib import Path

import hypothesis
import pytest
import yaml

from tf_trpo.cli import main

ROOT = Path(__file__).parents[1]
pytest_plugins = ["tests.agents"]


def pytest_configure(config):
    """Let all processes of the tests share what XLA compiles: programs are many, different ones few.

    What TensorFlow traces stays for the whole session, and is not to be searched for garbage again and again. Ctrl-C is
    heard: a shell starts what runs in its background with this signal ignored, and processes inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.set_threshold(100_000, 20, 20)
    if "TF_XLA_FLAGS" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="tf_trpo-tests-")
        config.add_cleanup(folder.cleanup)
        os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={folder.name}"


IS_QUICK = pytest.StashKey[bool]()


def pytest_collection_finish(session):
    """Note whether no slow test is to run."""
    session.config.stash[IS_QUICK] = not any(item.get_closest_marker("slow") for item in session.items)


def pytest_runtest_setup(item):
    """Leave out TensorFlow's optimizer of graphs, Grappler, in quick runs: it takes a quarter of the time of a trace.

    It runs next to slow tests, in tests marked as `grappler`, and in the processes that tests start.
    """
    import tensorflow as tf

    left_out = item.config.stash[IS_QUICK] and not item.get_closest_marker("grappler")
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": left_out})


def pytest_sessionstart(session):
    """Give the operations of graphs no stack traces: to record them takes a tenth of the time of a trace."""
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
        from tensorflow.python.client import pywrap_tf_session
        from tensorflow.python.util import tf_stack

        assert hasattr(tf_stack, "extract_stack")
        assert hasattr(pywrap_tf_session, "TF_SetOpStackTrace")
        tf_stack.extract_stack = lambda stacklevel=1: None
        pywrap_tf_session.TF_SetOpStackTrace = lambda operation, stack: None


# Examples are the same in every run, and have no time limit.
hypothesis.settings.register_profile("tests", max_examples=30, deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


@pytest.fixture(autouse=True)
def no_episodes_are_lost(request, caplog):
    """Fail a test whose training loses episodes, unless the test asks what the library says."""
    yield
    if "says" not in request.fixturenames:
        assert "the environments begin new episodes" not in caplog.text


@pytest.fixture
def says(caplog):
    """says(pattern): context in which the library logs a message with the pattern."""

    @contextlib.contextmanager
    def context(pattern):
        before = len(caplog.messages)
        with caplog.at_level(logging.WARNING, "tf_trpo"):
            yield
        said = caplog.messages[before:]
        assert any(re.search(pattern, message) for message in said), said

    return context


@pytest.fixture
def unread(monkeypatch):
    """unread(): context in which standard output and error are pipes without a reader, and write every line at once."""

    @contextlib.contextmanager
    def pipes():
        with monkeypatch.context() as patch, contextlib.ExitStack() as stack:
            for name in ("stdout", "stderr"):
                reading, writing = os.pipe()
                os.close(reading)
                stream = stack.enter_context(open(writing, "w", buffering=1))
                nowhere = stack.enter_context(open(os.devnull, "w"))
                # To close the stream writes what is left.
                stack.callback(os.dup2, nowhere.fileno(), writing)
                patch.setattr(sys, name, stream)
            yield

    return pipes


@pytest.fixture
def refused(capsys):
    """refused(*arguments): the one line on standard error of a command that ends with status 2."""

    def run(*arguments, progress_lines=0):
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert exit_info.value.code == 2
        assert captured.out == ""
        *progress, error = captured.err.splitlines()
        assert len(progress) == progress_lines
        assert error.startswith("error: ")
        return error

    return run


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """importable(name, text): make a module in an empty folder; return a function that tells if it was imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    (tmp_path / "modules").mkdir()
    made = []

    def make(name, text):
        (tmp_path / "modules" / f"{name}.py").write_text(text)
        made.append(name)
        return lambda: name in sys.modules

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def run_examples(tmp_path, monkeypatch, capsys):
    """run_examples(Markdown): run its Python examples in order in an empty folder, and return their output.

    `folder` is the folder's name; without it, all calls in a test run in the same folder. XLA is used only with `xla`,
    since compiling takes longer than the examples.
    """

    def run(text, xla=False, folder=""):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
        if not xla:
            monkeypatch.setattr("tf_trpo.learning.learner.xla_is_fast", lambda *models: False)
        examples = re.findall(r"```python\n(.*?)```", text, re.S)
        exec("\n".join(examples), {"__name__": "__main__"})
        return examples, capsys.readouterr().out

    return run


@pytest.fixture(scope="session")
def raw_first_layer():
    """raw_first_layer(policy): weights [D, H] and biases [H] of its first layer on observations not normalised."""

    def compute(policy):
        layer, [normalization] = policy.encoder.network.layers[0], policy.encoder.normalization
        kernel = layer.kernel.numpy() / normalization.scale.numpy()[:, None]
        return [kernel, layer.bias.numpy() - normalization.mean.numpy() @ kernel]

    return compute


def card_metrics(card):
    """Read the head of a model's card as strictly as Hugging Face's hub, and give the names and values of its metrics.

    Every text must be a text as it stands: YAML takes "yes" and "1e3" for something else.
    """
    begin, head, body = card.split("---\n", 2)
    assert begin == ""
    assert re.match(r"\n# \S", body)
    metadata = yaml.safe_load(head)
    assert metadata.keys() - {"license"} == {"library_name", "pipeline_tag", "tags", "model-index"}
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("tf_trpo", "reinforcement-learning")
    assert all(isinstance(tag, str) and tag for tag in metadata["tags"])
    assert len({*metadata["tags"]}) == len(metadata["tags"])
    (model,) = metadata["model-index"]
    assert model.keys() == {"name", "results"}
    assert body.startswith(f"\n# {model['name']}\n")
    (result,) = model["results"]
    assert result.keys() == {"task", "dataset", "metrics"}
    assert result["task"] == {"type": "reinforcement-learning", "name": "reinforcement-learning"}
    assert result["dataset"] == {"type": metadata["tags"][0], "name": metadata["tags"][0]}
    for metric in result["metrics"]:
        assert metric.keys() == {"type", "value", "name"}
        assert metric["type"] == "mean_reward"
        assert re.fullmatch(r"-?[\d.]+(e-\d+)? \+/- [\d.]+(e-\d+)?", metric["value"])
    with contextlib.suppress(ImportError):
        from huggingface_hub import ModelCard

        assert len(ModelCard(card).data.eval_results) == len(result["metrics"])
    return {metric["name"]: metric["value"] for metric in result["metrics"]}


@pytest.fixture(scope="session", name="card_metrics")
def _card_metrics():
    return card_metrics


class Server(logging.Handler):
    """`tf_trpo serve` of a model folder, in a thread of this process.

    Attributes:
      port, path: where the model is.
      errors: what was logged as an error while the server ran.
      handlers: its handlers of signals.
    """

    def __init__(self, folder, *options):
        super().__init__()
        self.errors, self.handlers, self._announced = [], {}, queue.SimpleQueue()
        command = ["serve", folder, "--port", 0, "--poll-seconds", 0.1, *options]
        self._thread = threading.Thread(target=self._serve, args=(list(map(str, command)),))
        logging.getLogger().addHandler(self)
        with pytest.MonkeyPatch.context() as patch:
            # Only the main thread may set signal handlers.
            patch.setattr(signal, "signal", self.handlers.__setitem__)
            self._thread.start()
            self.port, self.path = self._announced.get(timeout=60)

    def _serve(self, command):
        try:
            main(command)
        finally:
            self._announced.put(None)

    def emit(self, record):
        if record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage())
        found = re.search(r"at http://127\.0\.0\.1:(\d+)(/v1/models/.+)", record.getMessage())
        if found:
            self._announced.put((int(found[1]), found[2]))

    def connection(self):
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60))

    def request(self, method, path, body=None, connection=None):
        """(status, JSON) of one request; the path follows the model's, unless it is whole."""
        if connection is None:
            with self.connection() as connection:
                return self.request(method, path, body, connection)
        path = self.path + path if path.startswith((":", "/versions/", "/metadata", "/labels/")) or not path else path
        body = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def get(self, path=""):
        return self.request("GET", path)

    def post(self, body, path=":predict", **kwargs):
        return self.request("POST", path, body, **kwargs)

    def stop(self):
        """Stop the server as SIGTERM does."""
        if self._thread.is_alive():
            self.handlers[signal.SIGTERM]()
            self._thread.join(60)
        logging.getLogger().removeHandler(self)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def start_server():
    """start_server(folder, *options): a `Server`, stopped at the end of the module."""
    logger = logging.getLogger("tf_trpo")
    logger.setLevel(logging.INFO)
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            server = Server(*arguments)
            stack.callback(server.stop)
            return server

        yield start
    logger.setLevel(logging.NOTSET)
