"""SavedModels that tf_trpo did not write: they are served only if trusted, and only some of their endpoints."""

import numpy as np
import pytest
import tensorflow as tf

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


@pytest.mark.parametrize("trust", [False, True])
def test_a_foreign_model_is_served_only_if_it_is_trusted(folder, trust):
    watcher = ModelWatcher(folder.parent, trust=trust)
    watcher.look()
    assert (watcher.current is not None) == trust
    assert ("tf_trpo did not write it" in watcher.statuses[1].error_message) != trust


def test_endpoints_of_numbers_are_served_and_others_are_not(folder):
    model = SavedModel(1, folder, trust=True)
    assert set(model.signatures) == {"centred", "looked_up"}
    assert model.metadata is None
    # Requests must not share calls, since rows may depend on each other.
    assert not any(signature.batched for signature in model.signatures.values())
    looked_up = model.signatures["looked_up"]
    np.testing.assert_array_equal(looked_up({"index": np.int32([1, 0])})["y"], [20, 10])
    with pytest.raises(ModelError, match=r"the model refuses the inputs: .*not in"):
        looked_up({"index": np.int32([7])})


def test_rows_of_our_endpoints_are_independent_and_a_seed_is_no_row(model):
    signatures = SavedModel(1, model / "1").signatures
    assert {name for name, signature in signatures.items() if not signature.batched} == {"act_stochastic"}


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"holds no saved_model\.pb"):
        SavedModel(1, tmp_path, trust=True)
