"""Policies from a model in this process and on a server: inputs, actions and refusals."""

import contextlib

import numpy as np
import pytest

from tf_trpo.serving import read_metadata
from tf_trpo.serving.local_policy import LocalPolicy
from tf_trpo.serving.remote_policy import RemotePolicy
from tf_trpo.serving.saved_model import ModelError
from tf_trpo.spaces import named


def test_a_saved_model_acts_as_the_agent_and_knows_the_spaces(case_of, case_name):
    case = case_of(case_name)
    policy = LocalPolicy(str(case.folder))
    sampled = case.agent.predict(case.inputs, stochastic=True, seed=3)
    for nest, actions in ((policy.act(case.inputs), case.actions), (policy.act(case.inputs, seed=(3, 0)), sampled)):
        found, wanted = named("actions", nest), named("actions", actions)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
            tolerance = {"rtol": 2e-3 if value.dtype == np.float16 else 1e-5, "atol": 1e-6}
            np.testing.assert_allclose(found[name], value, **tolerance, err_msg=name)
    metadata = read_metadata(case.folder / "1")
    assert metadata.action_space == case.agent.policy.action_distribution.describe_actions()
    if case_name == "lake, doubles":
        assert metadata.observation_space == {"type": "Discrete", "n": 16, "start": 0, "dtype": "int64"}


@pytest.fixture(scope="module")
def masked(case_of):
    return LocalPolicy(case_of("mask").folder)


def test_no_masked_action_is_taken(masked, case_of):
    observations = {name: part.copy() for name, part in case_of("mask").inputs.items()}
    mask = observations["action_mask"]
    mask[:, 1] |= ~mask.any(axis=1)
    assert not mask.all()
    for seed in (None, (0, 0), (0, 1)):
        assert mask[np.arange(17), masked.act(observations, seed) - 2].all()


def test_other_observations_are_refused_and_both_sides_are_named(masked):
    mask, floor = np.ones((1, 5), np.int8), np.zeros(1, np.int64)
    sides = r"observes observations_action_mask of shape \(5,\), .* gives "
    for given, words in {
        "lone": (floor, sides + r"observations of shape \(\)"),
        "shape": ({"action_mask": mask[:, 1:], "floor": floor}, sides + r"observations_action_mask of shape \(4,\)"),
        "type": ({"action_mask": mask, "floor": floor + 0.5}, "takes observations_floor as int64, not as float64"),
    }.values():
        with pytest.raises(ModelError, match=words):
            masked.act(given)


def test_a_server_gives_the_same_actions_as_the_model_for_nests(case_of, start_server):
    case = case_of("dict")
    local, server = LocalPolicy(case.folder), start_server(case.folder)
    url = f"http://127.0.0.1:{server.port}{server.path}"
    with contextlib.closing(RemotePolicy(url, case.actions)) as remote:
        for seed in (None, (5, 1)):
            here, there = (policy.act(case.inputs, seed) for policy in (local, remote))
            assert isinstance(there["wheel"], tuple)
            here, there = named("actions", here), named("actions", there)
            assert here.keys() == there.keys()
            for name, rows in here.items():
                np.testing.assert_array_equal(there[name].astype(rows.dtype), rows)
    instances = [{name: part[0].tolist() for name, part in named("observations", case.inputs).items()}]
    status, answer = server.post({"instances": instances})
    assert status == 200
    assert answer["predictions"][0].keys() == here.keys()
