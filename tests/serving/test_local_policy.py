"""Policies from a model in this process and behind a server: what they take, give and refuse."""

import contextlib

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from tf_trpo.serving.local_policy import LocalPolicy
from tf_trpo.serving.remote_policy import RemotePolicy
from tf_trpo.serving.saved_model import ModelError
from tf_trpo.spaces import named

MASKED = spaces.Dict(action_mask=spaces.MultiBinary(5), floor=spaces.Discrete(5))
SEVERAL = spaces.Dict(
    pixels=spaces.Box(0, 255, (2, 2, 3), np.uint8), room=spaces.Discrete(3, start=4), speed=spaces.Box(-1, 1, (3,))
)
ACTIONS = spaces.Dict(gear=spaces.Discrete(3, start=1), wheel=spaces.Tuple([spaces.Box(0, 2, (2,))] * 2))


def drawn(space, count=17):
    batch = batch_space(space, count)
    batch.seed(0)
    return batch.sample()


@pytest.fixture(scope="module")
def masked(make_agent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    make_agent(MASKED, spaces.Discrete(5, start=2)).export(folder)
    return LocalPolicy(folder)


def test_no_masked_action_is_taken(masked):
    observations = drawn(MASKED)
    mask = observations["action_mask"]
    mask[:, 1] |= ~mask.any(axis=1)
    assert not mask.all()
    for seed in (None, (0, 0), (0, 1)):
        assert mask[np.arange(17), masked.act(observations, seed) - 2].all()


def test_what_the_model_does_not_observe_is_refused_with_both_sides_named(masked):
    mask, floor = np.ones((1, 5), np.int8), np.zeros(1, np.int64)
    sides = r"observes observations_action_mask of shape \(5,\), .* gives "
    for given, words in {
        "lone": (floor, sides + r"observations of shape \(\)"),
        "shape": ({"action_mask": mask[:, 1:], "floor": floor}, sides + r"observations_action_mask of shape \(4,\)"),
        "type": ({"action_mask": mask, "floor": floor + 0.5}, "takes observations_floor as int64, not as float64"),
    }.values():
        with pytest.raises(ModelError, match=words):
            masked.act(given)


def test_a_server_answers_for_nests_as_the_model_acts(make_agent, tmp_path, start_server):
    make_agent(SEVERAL, ACTIONS).export(tmp_path / "model")
    local, server = LocalPolicy(tmp_path / "model"), start_server(tmp_path / "model")
    observations = drawn(SEVERAL)
    url = f"http://127.0.0.1:{server.port}{server.path}"
    with contextlib.closing(RemotePolicy(url, ACTIONS.sample())) as remote:
        for seed in (None, (5, 1)):
            here, there = (policy.act(observations, seed) for policy in (local, remote))
            assert isinstance(there["wheel"], tuple)
            here, there = named("actions", here), named("actions", there)
            assert here.keys() == there.keys()
            for name, rows in here.items():
                np.testing.assert_array_equal(there[name].astype(rows.dtype), rows)
    instances = [{name: part[0].tolist() for name, part in named("observations", observations).items()}]
    status, answer = server.post({"instances": instances})
    assert status == 200
    assert answer["predictions"][0].keys() == here.keys()
