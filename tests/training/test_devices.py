"""TensorFlow's settings if there is a GPU, on a machine that pretends to have GPUs."""

import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.training.devices import prepare_gpus


@pytest.fixture
def two_gpus(monkeypatch):
    grown = {}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["one", "two"] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.update({gpu: on}))
    yield grown
    tf.config.experimental.enable_tensor_float_32_execution(True)


def test_an_agent_sets_memory_growth_and_disables_tf32(two_gpus):
    assert tf.config.experimental.tensor_float_32_execution_enabled()
    tf_trpo.TRPO.for_env("CartPole-v1")
    assert two_gpus == {"one": True, "two": True}
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_memory_growth_is_not_changed_after_tensorflow_has_started(two_gpus, monkeypatch):
    def refuse(gpu, on):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    prepare_gpus()
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_without_a_gpu_nothing_is_set():
    prepare_gpus()
    assert tf.config.experimental.tensor_float_32_execution_enabled()
