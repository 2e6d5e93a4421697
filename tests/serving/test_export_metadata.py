"""What stands beside an exported model: its metadata, and warm-up requests."""

import dataclasses
import importlib.metadata
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.serving import read_metadata
from tf_trpo.serving.metadata import METADATA_FILE, MetadataError

EVALUATION = {"mean_return": 12.5, "std_return": 1.0, "mean_length": 7.0, "episodes": 20}


@pytest.fixture(scope="module")
def exported(gaussian_agent, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "policy"
    gaussian_agent.env_steps.assign(4321)
    return Path(gaussian_agent.export(path, environment="Some-v3", evaluation=EVALUATION, warmup=True))


def test_the_metadata_say_what_is_known_in_plain_json(exported, gaussian_agent):
    found = read_metadata(exported)
    content = json.loads((exported / "assets.extra" / "tf_trpo.json").read_text(), parse_constant=pytest.fail)
    assert set(content) == {"format", "files", *(field.name for field in dataclasses.fields(found))}
    assert (found.environment, found.training_steps, found.evaluation) == ("Some-v3", 4321, EVALUATION)
    assert found.observation_space == {"type": "Box", "shape": [3], "dtype": "float32", "kind": "vector"}
    assert found.action_space == {
        "type": "Box",
        "shape": [2],
        "dtype": "float32",
        "low": [-0.5, None],
        "high": [0.5, 1.0],
    }
    (layer,), (statistics,) = gaussian_agent.policy.encoder.normalization, found.observation_statistics
    for name in ("mean", "variance", "count"):
        np.testing.assert_array_equal(statistics[name], getattr(layer, name).numpy())
    assert (statistics["min_std"], statistics["clip"]) == (0.0, 10.0)
    for name in ("tensorflow", "keras"):
        assert found.versions[name] == importlib.metadata.version(name)
    assert found.versions["tf_trpo"]


def test_what_is_not_known_is_null(categorical_agent, tmp_path):
    found = read_metadata(Path(categorical_agent.export(tmp_path)))
    assert (found.environment, found.evaluation) == (None, None)
    assert found.action_space == {"type": "Discrete", "n": 4, "start": 5, "dtype": "int64"}


def change(path, text):
    path.write_text(path.read_text().replace(*text))


DAMAGE = {
    "no metadata": (lambda folder: (folder / METADATA_FILE).unlink(), "has no assets.extra/tf_trpo.json"),
    "half a file": (lambda folder: (folder / METADATA_FILE).write_text('{"format": 1, "fi'), "cannot be read"),
    "no object": (lambda folder: (folder / METADATA_FILE).write_text("[1]"), "cannot be read"),
    "deep nesting": (lambda folder: (folder / METADATA_FILE).write_text("[" * 100_000), "cannot be read"),
    "another format": (lambda folder: change(folder / METADATA_FILE, ('"format": 1', '"format": 2')), "another format"),
    "an unknown entry": (lambda folder: change(folder / METADATA_FILE, ('"environment"', '"x"')), "cannot be read"),
    "a file is missing": (lambda folder: (folder / "saved_model.pb").unlink(), "saved_model.pb is missing, changed"),
    "a file is new": (lambda folder: (folder / "variables" / "more").write_text("x"), "variables/more is missing"),
    "a file has changed": (lambda folder: (folder / "saved_model.pb").write_bytes(b"x"), "saved_model.pb is missing"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_folder_that_is_not_as_it_was_written_is_noticed(exported, tmp_path, damage, words):
    folder = tmp_path / "1"
    shutil.copytree(exported, folder)
    assert read_metadata(folder) == read_metadata(exported)
    damage(folder)
    with pytest.raises(MetadataError, match=words):
        read_metadata(folder)


def test_warm_up_requests_are_of_every_endpoint_and_run(exported):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    loaded = tf.saved_model.load(str(exported))
    records = tf.data.TFRecordDataset(str(exported / "assets.extra" / "tf_serving_warmup_requests"))
    seen = set()
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "policy"
        signature = loaded.signatures[request.model_spec.signature_name]
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        batch = inputs["observations"].shape[0]
        assert all(output.shape[0] == batch for output in signature(**inputs).values())
        seen.add((request.model_spec.signature_name, batch))
    endpoints = set(loaded.signatures) - {"serving_default"}
    assert seen == {(name, batch) for name in endpoints for batch in (1, 32)}
