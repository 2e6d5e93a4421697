"""Trainings on several Ray nodes, all on this machine; one node is removed, and one is added."""

import keras
import pytest

import tf_trpo
from tf_trpo.models.settings import PolicySettings

ray = pytest.importorskip("ray")
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()
    assert not ray.is_initialized(), "the training has not left the cluster"


@pytest.mark.slow
def test_a_removed_and_an_added_node_change_nothing(cluster, caplog):
    nodes = [cluster.add_node(**NODE) for _ in range(2)]

    def change(epoch, logs):
        if epoch == 1:
            cluster.remove_node(nodes[0], allow_graceful=False)
        elif epoch == 2:
            cluster.add_node(**NODE)

    def train(workers, **options):
        agent = tf_trpo.TRPO.for_env("Pendulum-v1", seed=0, policy=PolicySettings(hidden_sizes=(8,)))
        options |= {"num_envs": 6, "shards": 3, "num_steps": 50, "seed": 2, "verbose": 0, "workers": workers}
        agent.fit("Pendulum-v1", 6 * 6 * 50, **options)
        return agent.get_weights()

    expected = train(0)
    callback = keras.callbacks.LambdaCallback(on_epoch_end=change)
    found = train(2, ray_address=cluster.address, callbacks=[callback])
    assert all(array.tobytes() == then.tobytes() for array, then in zip(found, expected, strict=True))
    assert "was lost" in caplog.text
