"""The metadata next to an exported model."""

import dataclasses
import importlib.metadata
import json
import shutil

import numpy as np
import pytest

from tf_trpo.serving import read_metadata
from tf_trpo.serving.metadata import METADATA_FILE, MetadataError


def test_the_metadata_are_plain_json(exported, gaussian_agent):
    folder, evaluation = (
        exported["gaussian"],
        {"mean_return": 12.5, "std_return": 1.0, "mean_length": 7.0, "episodes": 20},
    )
    found = read_metadata(folder)
    content = json.loads((folder / METADATA_FILE).read_text(), parse_constant=pytest.fail)
    assert set(content) == {field.name for field in dataclasses.fields(found)}
    assert (found.environment, found.training_steps, found.evaluation) == ("Some-v3", 4321, evaluation)
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


def test_unknown_metadata_are_null(exported):
    found = read_metadata(exported["categorical"])
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
def test_a_changed_folder_is_detected(exported, tmp_path, damage, words):
    folder = tmp_path / "1"
    shutil.copytree(exported["gaussian"], folder)
    assert read_metadata(folder) == read_metadata(exported["gaussian"])
    damage(folder)
    with pytest.raises(MetadataError, match=words):
        read_metadata(folder)
