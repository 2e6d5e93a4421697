"""SavedModels that tf_trpo did not write, served when they are trusted: what is served of them, and how."""

import asyncio

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.serving.batching import Batcher
from tf_trpo.serving.json_tensors import RequestError
from tf_trpo.serving.model_watcher import ModelWatcher
from tf_trpo.serving.saved_model import ModelError, SavedModel


class Foreign(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def centred(self, x):
        return {"y": x - tf.reduce_mean(x)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32, name="index")])
    def looked_up(self, index):
        return {"y": tf.gather(tf.constant([10.0, 20.0]), index)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def upper(self, text):
        return {"y": tf.strings.upper(text)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
    def any_rank(self, x):
        return {"y": x}

    @tf.function(input_signature=[])
    def constant(self):
        return {"y": tf.constant([1.0])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign") / "1"
    model = Foreign()
    names = ("centred", "looked_up", "upper", "any_rank", "constant")
    tf.saved_model.save(model, str(path), signatures={name: getattr(model, name) for name in names})
    return path


@pytest.fixture(scope="module")
def model(folder):
    return SavedModel(1, folder, trust=True)


@pytest.mark.parametrize("trust", [False, True])
def test_it_is_taken_into_service_only_when_it_is_trusted(folder, trust):
    watcher = ModelWatcher(folder.parent, trust=trust)
    watcher.look()
    assert (watcher.current is not None) == trust
    assert ("tf_trpo did not write it" in watcher.statuses[1].error_message) != trust


def test_endpoints_of_numbers_are_served_and_others_are_not(model):
    assert set(model.signatures) == {"centred", "looked_up"}
    assert model.metadata is None
    with pytest.raises(RequestError, match="there are centred, looked_up"):
        model.signature("upper")


def test_values_that_the_model_refuses_are_the_clients_mistake(model):
    np.testing.assert_array_equal(model.signature("looked_up")({"index": np.int32([1, 0])})["y"], [20, 10])
    with pytest.raises(RequestError, match=r"the model refuses the inputs: .*not in") as refused:
        model.signature("looked_up")({"index": np.int32([7])})
    assert refused.value.status == 400


def answers(signature, requests, **kwargs):
    """Of requests that are asked at the same time."""

    async def ask():
        batcher = Batcher(2, 100, **kwargs)
        tasks = [batcher.run(signature, request) for request in requests]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return found

    return asyncio.run(ask())


def test_rows_of_different_requests_do_not_meet_in_it(model):
    """Its rows depend on each other."""
    found = answers(model.signature("centred"), [{"x": np.float32([n, n + 2])} for n in range(9)])
    for answer in found:
        np.testing.assert_array_equal(answer["y"], [-1, 1])


class Recorder:
    """An endpoint that keeps what it was called with."""

    batched = True

    def __init__(self):
        self.calls = []

    def __call__(self, inputs):
        self.calls.append(inputs["x"].tolist())
        return {"y": 2 * inputs["x"]}


def requests(*rows):
    return [{"x": np.float32(row)} for row in rows]


def test_requests_that_wait_go_together_up_to_the_limit_and_come_apart_again():
    recorder = Recorder()
    found = answers(recorder, requests(*([n, n] for n in range(120))))
    assert [answer["y"].tolist() for answer in found] == [[2 * n, 2 * n] for n in range(120)]
    assert [len(call) for call in recorder.calls] == [100, 100, 40]
    alone = Recorder()
    answers(alone, requests(*([n] for n in range(5))), together=False)
    assert sorted(alone.calls) == [[n] for n in range(5)]


def test_a_file_without_a_graph_to_serve_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelError, match="has no graph with the tag serve"):
        SavedModel(1, tmp_path, trust=True)
