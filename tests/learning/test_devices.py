"""TensorFlow's settings if there is a GPU, on a machine that pretends to have GPUs."""

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.learning.devices import prepare_gpus
from tf_trpo.workers import ray_crew


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


@pytest.mark.parametrize("shards", [1, 2])
def test_a_single_worker_that_acts_otherwise_than_one_process_is_said(two_gpus, monkeypatch, caplog, shards):
    class Pictures(gym.Env):
        observation_space = gym.spaces.Box(0, 255, (8, 8, 1), np.uint8)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.zeros((8, 8, 1), np.uint8), {}

    def start(*arguments):
        raise RuntimeError("workers would start here")

    agent = tf_trpo.TRPO.for_env(Pictures)
    monkeypatch.setattr(tf.config, "list_logical_devices", tf.config.list_physical_devices)
    monkeypatch.setattr(ray_crew, "RayCrew", start)
    with pytest.raises(RuntimeError, match="workers would start here"):
        agent.fit(Pictures, 32, num_envs=2, num_steps=16, shards=shards, workers=1)
    assert ("one process would act on the GPU (see shards), and the results agree" in caplog.text) is (shards == 1)
