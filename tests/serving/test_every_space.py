"""Exports for every supported space: their actions are the agent's own, in every format that can have them."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from tf_trpo.serving import read_metadata
from tf_trpo.serving.local_policy import LocalPolicy
from tf_trpo.serving.remote_policy import RemotePolicy
from tf_trpo.serving.saved_model import ModelError
from tf_trpo.spaces import named, unnamed

VECTOR = spaces.Box(-1, 1, (3,), np.float64)
CASES = {
    "frozen lake": (spaces.Discrete(16), spaces.Discrete(4)),
    "tuple": (spaces.Tuple([spaces.Discrete(32), spaces.Discrete(11)]), spaces.MultiDiscrete([[2, 3], [4, 1]])),
    "dict": (
        spaces.Dict(
            image=spaces.Box(0, 255, (12, 12, 3), np.uint8),
            room=spaces.MultiDiscrete([3, 2], start=[4, 0]),
            speed=VECTOR,
            switches=spaces.MultiBinary(2),
        ),
        spaces.Dict(
            gear=spaces.Discrete(3, start=1), wheel=spaces.Tuple([spaces.Box(0, 2, (2,)), spaces.MultiBinary(3)])
        ),
    ),
    "mask": (spaces.Dict(action_mask=spaces.MultiBinary(5), floor=spaces.Discrete(5)), spaces.Discrete(5, start=2)),
    "halves": (spaces.Box(0, 9, (3,), np.int32), spaces.Box(-5, 5, (2,), np.float16)),
    "doubles": (VECTOR, spaces.Box(-0.1, 0.1, (2,), np.float64)),
}
COUNT = 17


def drawn(space, count=COUNT):
    batch = batch_space(space, count)
    batch.seed(0)
    return batch.sample()


@pytest.fixture(scope="module", params=CASES)
def case(request, make_agent_for):
    """(agent, observations [N, ...], the agent's own most likely actions)."""
    observations, actions = CASES[request.param]
    agent = make_agent_for(observations, actions)
    return agent, drawn(observations), agent.predict(drawn(observations))


def assert_equal(found, wanted):
    found, wanted = (named("actions", nest) for nest in (found, wanted))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        tolerance = {"rtol": 2e-3 if value.dtype == np.float16 else 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(found[name], value, **tolerance, err_msg=name)


def test_a_saved_model_acts_as_the_agent_and_knows_the_spaces(case, tmp_path):
    agent, observations, wanted = case
    path = agent.export(tmp_path / "model")
    policy = LocalPolicy(tmp_path / "model")
    assert_equal(policy.act(observations), wanted)
    sampled = policy.act(observations, seed=(3, 0))
    assert_equal(sampled, agent.predict(observations, stochastic=True, seed=3))
    metadata = read_metadata(tmp_path / "model" / "1")
    assert path == str(tmp_path / "model" / "1")
    assert metadata.action_space == agent.policy.action_distribution.describe_actions()


def test_a_frozen_lake_is_described_as_gymnasium_does(make_agent_for, tmp_path):
    make_agent_for(*CASES["frozen lake"]).export(tmp_path)
    metadata = read_metadata(tmp_path / "1")
    assert metadata.observation_space == {"type": "Discrete", "n": 16, "start": 0, "dtype": "int64"}
    assert metadata.action_space == {"type": "Discrete", "n": 4, "start": 0, "dtype": "int64"}


def litert(path):
    interpreter = Interpreter(model_path=f"{path}/model.tflite")
    run = interpreter.get_signature_runner("act")
    types = {name: details["dtype"] for name, details in run.get_input_details().items()}
    return lambda inputs: run(**{name: inputs[name].astype(dtype) for name, dtype in types.items()})


def onnx(path):
    session = pytest.importorskip("onnxruntime").InferenceSession(f"{path}/model.onnx")
    taken = [put.name for put in session.get_inputs()]
    names = [put.name for put in session.get_outputs() if put.name.startswith("actions")]
    return lambda inputs: dict(zip(names, session.run(names, {name: inputs[name] for name in taken}), strict=True))


@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_a_converted_model_acts_as_the_agent(case, tmp_path, format):
    agent, observations, wanted = case
    if format == "litert" and getattr(wanted, "dtype", None) == np.float64:
        with pytest.raises(ValueError, match=r"does not compute in float64, .*: export in the format saved_model"):
            agent.export(tmp_path, format=format)
        assert not list(tmp_path.iterdir())
        return
    outputs = {"litert": litert, "onnx": onnx}[format](agent.export(tmp_path, format=format))
    found = outputs(named("observations", observations))
    assert_equal(unnamed("actions", wanted, found), wanted)


@pytest.fixture(scope="module")
def masked(make_agent_for, tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    make_agent_for(*CASES["mask"]).export(folder)
    return LocalPolicy(folder)


def test_no_masked_action_is_taken(masked):
    observations = drawn(CASES["mask"][0])
    mask = observations["action_mask"]
    mask[:, 1] |= ~mask.any(axis=1)
    assert not mask.all()
    for seed in (None, (0, 0), (0, 1)):
        assert mask[np.arange(COUNT), masked.act(observations, seed) - 2].all()


def test_a_server_answers_for_dicts_and_images_as_the_model_acts(make_agent_for, tmp_path, start_server):
    observation_space, action_space = CASES["dict"]
    make_agent_for(observation_space, action_space).export(tmp_path / "model")
    local, server = LocalPolicy(tmp_path / "model"), start_server(tmp_path / "model")
    remote = RemotePolicy(f"http://127.0.0.1:{server.port}{server.path}", action_space.sample())
    observations = drawn(observation_space)
    for seed in (None, (5, 1)):
        here, there = (named("actions", policy.act(observations, seed)) for policy in (local, remote))
        assert here.keys() == there.keys()
        for name, rows in here.items():
            np.testing.assert_array_equal(there[name].astype(rows.dtype), rows)
    instances = [{name: part[0].tolist() for name, part in named("observations", observations).items()}]
    status, answer = server.post({"instances": instances})
    assert status == 200
    assert answer["predictions"][0].keys() == here.keys()
    remote.close()


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
