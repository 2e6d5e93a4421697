"""Models with a memory: every format and the server against the agent, row by row of whole episodes."""

import contextlib
import functools
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from tf_trpo.models.making import make_policy, make_value_function
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.serving import read_metadata
from tf_trpo.serving.endpoints import state_names
from tf_trpo.serving.local_policy import LocalPolicy
from tf_trpo.serving.remote_policy import RemotePolicy
from tf_trpo.serving.saved_model import ModelError
from tf_trpo.spaces import named

ROWS, UNITS = 8, 4
SPACES = {
    "gru": (spaces.Box(-1, 1, (3,), np.float32), spaces.Box(-2, 2, (2,), np.float32)),
    "lstm": (
        spaces.Dict(card=spaces.Discrete(3), numbers=spaces.Box(-1, 1, (2,), np.float64)),
        spaces.Dict(choice=spaces.Discrete(4), force=spaces.Box(-5, 5, (2,), np.float32)),
    ),
}
ENDPOINTS = ["act", "act_stochastic", "value", "distribution", "initial_state"]
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="session")
def memories(with_weights, tmp_path_factory):
    """Of each kind of memory: an agent, the folder of its saved model, and rows(count): an episode's observations."""

    def make(kind):
        observed, actions = SPACES[kind]
        settings = PolicySettings(hidden_sizes=(5,), memory=kind, memory_units=UNITS)
        agent = with_weights(
            make_policy(settings, observed, actions, seed=0),
            make_value_function(settings, ValueSettings((5,)), observed, seed=0),
        )
        folder = tmp_path_factory.mktemp("memory") / kind
        agent.export(folder)

        def rows(count, seed=0):
            space = batch_space(observed, count)
            space.seed(seed)
            return [space.sample() for _ in range(ROWS)]

        return types.SimpleNamespace(kind=kind, agent=agent, folder=folder, rows=rows)

    return {kind: make(kind) for kind in SPACES}


@pytest.fixture(params=SPACES)
def case(memories, request):
    return memories[request.param]


def by_agent(agent, rows):
    """What each row of an episode has to give, by the names of outputs."""
    count = len(next(iter(named("observations", rows[0]).values())))
    state, policy_state = None, agent.policy.initial_states(count)
    value_state = agent.value_function.encoder.memory.initial(count)
    expected = []
    for row in rows:
        inputs = tf.nest.map_structure(tf.constant, row)
        actions, after = agent.predict(row, state)
        sampled, _ = agent.predict(row, state, stochastic=True, seed=7)
        parameters, policy_state = agent.policy.step(inputs, policy_state)
        values, value_state = agent.value_function.step(inputs, value_state)
        states = state_names("state", after)
        of_value = state_names("value_state", value_state)
        expected.append(
            {
                "act": named("actions", actions) | states,
                "act_stochastic": named("actions", sampled) | states,
                "value": {"values": values * np.sqrt(agent.return_scale.variance), **of_value},
                "distribution": agent.policy.action_distribution.named_parameters(parameters) | states,
            }
        )
        state = after
    return expected


def saved_model(folder):
    signatures = SavedModelSession(folder)
    return signatures.run, ENDPOINTS


class SavedModelSession:
    """A SavedModel in a session: as TensorFlow Serving loads it."""

    def __init__(self, folder):
        with tf.Graph().as_default():
            self.session = tf.compat.v1.Session()
            self.signatures = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder)).signature_def

    def run(self, endpoint, inputs):
        signature = self.signatures[endpoint]
        fed = {tensor.name: inputs[name] for name, tensor in signature.inputs.items()}
        return self.session.run({name: tensor.name for name, tensor in signature.outputs.items()}, fed)


def loaded(folder):
    model = tf.saved_model.load(str(folder))

    def run(endpoint, inputs):
        signature = model.signatures[endpoint]
        taken = signature.structured_input_signature[1]
        return signature(**{name: tf.constant(inputs[name], spec.dtype) for name, spec in taken.items()})

    return run, ENDPOINTS


def litert(folder):
    interpreter = Interpreter(model_path=str(folder / "model.tflite"))
    endpoints = [name for name in ENDPOINTS if name != "act_stochastic"]
    assert set(interpreter.get_signature_list()) == set(endpoints)

    def run(endpoint, inputs):
        runner = interpreter.get_signature_runner(endpoint)
        types = {name: details["dtype"] for name, details in runner.get_input_details().items()}
        return runner(**{name: np.asarray(inputs[name], dtype) for name, dtype in types.items()})

    return run, endpoints


def onnx(folder):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(folder / "model.onnx"))
    names = [put.name for put in session.get_outputs()]

    def run(endpoint, inputs):
        given = {put.name: inputs[put.name] for put in session.get_inputs()}
        return {name.removeprefix("next_"): out for name, out in zip(names, session.run(names, given), strict=True)}

    return run, ["act", "value", "distribution"]


FORMATS = {
    "saved_model": (loaded, "saved_model"),
    "session": (saved_model, "saved_model"),
    "litert": (litert, "litert"),
    "onnx": (onnx, "onnx"),
}


@pytest.fixture(scope="session")
def model_of(memories, tmp_path_factory):
    """model_of(kind, format): the folder of an agent's only version."""

    @functools.cache
    def export(kind, format):
        if format == "saved_model":
            return memories[kind].folder / "1"
        return Path(memories[kind].agent.export(tmp_path_factory.mktemp("memory") / format, format=format))

    return export


def first_states(folder, run, endpoints, count):
    """The states with which episodes begin: what the endpoint gives, and what the metadata say."""
    said = read_metadata(folder).initial_state
    states = {name: np.repeat(np.float32([value]), count, axis=0) for name, value in said.items()}
    if "initial_state" in endpoints:
        given = run("initial_state", {"episodes": np.zeros(count, np.int32)})
        assert given.keys() == states.keys()
        for name, value in states.items():
            np.testing.assert_array_equal(given[name], value)
    return states


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("format", FORMATS)
def test_an_episode_through_a_model_is_that_of_the_agent(case, format, count, model_of):
    load, kind = FORMATS[format]
    folder = model_of(case.kind, kind)
    run, endpoints = load(folder)
    states = first_states(folder, run, endpoints, count)
    rows = case.rows(count)
    for row, expected in zip(rows, by_agent(case.agent, rows), strict=True):
        inputs, after = {**named("observations", row), **states, "seed": np.int32([7, 0])}, {}
        for endpoint in endpoints:
            if endpoint == "initial_state":
                continue
            found = run(endpoint, inputs)
            wanted = expected[endpoint]
            assert found.keys() == wanted.keys() if kind != "onnx" else found.keys() >= wanted.keys()
            for name, value in wanted.items():
                assert np.shape(found[name]) == np.shape(value)
                close(found[name], value, err_msg=f"{endpoint} {name}")
            after |= {name: np.asarray(found[name]) for name in states if name in found}
        assert after.keys() == states.keys()
        assert any((after[name] != states[name]).any() for name in states)
        states = after


def test_the_metadata_of_a_model_say_with_what_an_episode_begins(memories):
    zeros = [0.0] * UNITS
    said = {kind: read_metadata(case.folder / "1").initial_state for kind, case in memories.items()}
    assert said == {
        "gru": {"state": zeros, "value_state": zeros},
        "lstm": {f"{name}_{part}": zeros for name in ("state", "value_state") for part in (0, 1)},
    }


@pytest.mark.parametrize("seed", [None, (7, 0)])
def test_a_local_policy_remembers_until_an_episode_begins(case, seed):
    policy, rows = LocalPolicy(case.folder), case.rows(3)
    expected = by_agent(case.agent, rows)
    for _ in range(2):
        policy.begin()
        for row, wanted in zip(rows, expected, strict=True):
            found = named("actions", policy.act(row, seed))
            for name, value in found.items():
                close(value, wanted["act" if seed is None else "act_stochastic"][name])


def test_other_environments_than_those_of_the_episode_are_refused(case):
    policy = LocalPolicy(case.folder)
    policy.act(case.rows(3)[0])
    with pytest.raises(ModelError, match="the model refuses the inputs"):
        policy.act(case.rows(2)[0])


@pytest.fixture(scope="module")
def servers(memories, start_server):
    return {kind: start_server(case.folder, "--max-batch", 50) for kind, case in memories.items()}


def remote(server, case):
    action = batch_space(SPACES[case.kind][1], 1).sample()
    url = f"http://127.0.0.1:{server.port}{server.path}"
    return contextlib.closing(RemotePolicy(url, action))


def test_clients_that_take_turns_have_episodes_of_their_own(case, servers):
    """Also two that began at other times: the server keeps nothing."""
    episodes = [case.rows(count, seed) for count, seed in ((1, 1), (2, 2), (1, 3))]
    expected = [by_agent(case.agent, rows) for rows in episodes]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(remote(servers[case.kind], case)) for _ in episodes]
        for time in range(ROWS + 2):
            for late, (client, rows, wanted) in enumerate(zip(clients, episodes, expected, strict=True)):
                if 0 <= time - late < ROWS:
                    found = named("actions", client.act(rows[time - late]))
                    for name, value in found.items():
                        close(value, wanted[time - late]["act"][name])
        client, rows, wanted = clients[0], episodes[0], expected[0]
        client.begin()
        close(named("actions", client.act(rows[0], (7, 0)))[name], wanted[0]["act_stochastic"][name])


def test_clients_at_the_same_time_have_episodes_of_their_own(memories, servers):
    """Requests that wait go through the model in one call: each with its own state."""
    case = memories["gru"]
    episodes = [case.rows(1, seed) for seed in range(8)]

    def play(rows):
        with remote(servers["gru"], case) as client:
            return [client.act(row) for row in rows]

    with ThreadPoolExecutor(8) as clients:
        for found, rows in zip(clients.map(play, episodes), episodes, strict=True):
            close(found, [wanted["act"]["actions"] for wanted in by_agent(case.agent, rows)])


@pytest.fixture
def asked(memories, servers):
    """asked(endpoint, **body): what the server of the GRU answers, and the inputs of two environments by columns."""
    case = memories["gru"]
    columns = {"observations": case.rows(2)[0].tolist(), "state": np.full((2, UNITS), 0.5).tolist()}
    return lambda endpoint, **body: servers["gru"].post({"signature_name": endpoint, **body}), columns


def test_rows_with_their_states_are_those_of_columns(asked, memories):
    ask, columns = asked
    status, by_columns = ask("act", inputs=columns)
    assert status == 200
    instances = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    status, by_rows = ask("act", instances=instances)
    assert status == 200
    assert by_columns["outputs"] == {
        name: [row[name] for row in by_rows["predictions"]] for name in ("actions", "state")
    }
    agent = memories["gru"].agent
    actions, state = agent.predict(
        np.float32(columns["observations"]), tuple(np.float32([columns["state"]])), stochastic=False
    )
    close(by_columns["outputs"]["actions"], actions)
    close(by_columns["outputs"]["state"], state[0])


REFUSED = {
    "no state": (lambda given: {"inputs": {"observations": given["observations"]}}, "required field `state`"),
    "no state in a row": (lambda given: {"instances": [{"observations": [0, 0, 0]}]}, "required field `state`"),
    "observations alone": (lambda given: {"instances": given["observations"]}, "Expected `object`"),
    "other units": (lambda given: {"inputs": {**given, "state": [[0.0] * 3] * 2}}, r"at \$\.state|length"),
    "one row less": (lambda given: {"inputs": {**given, "state": given["state"][:1]}}, "inconsistent batch sizes"),
    "no numbers": (lambda given: {"inputs": {**given, "state": [[None] * UNITS] * 2}}, "state"),
    "null": (lambda given: {"inputs": {**given, "state": None}}, "state"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_a_state_that_is_missing_or_does_not_fit_is_a_plain_400(asked, change, words):
    ask, columns = asked
    status, answer = ask("act", **change(columns))
    assert status == 400
    assert answer.keys() == {"error"}
    assert any(word in answer["error"] for word in words.split("|"))


def test_states_are_given_for_no_more_episodes_than_a_request_may_have_rows(asked, servers):
    ask, _ = asked
    zeros = [0.0] * UNITS
    first = {"state": zeros, "value_state": zeros}
    assert ask("initial_state", instances=[0, 5]) == (200, {"predictions": [first] * 2})
    columns = (200, {"outputs": {name: [zeros] * 2 for name in first}})
    assert ask("initial_state", inputs={"episodes": [0, 5]}) == ask("initial_state", inputs=[0, 5]) == columns
    for episodes in (2, [0] * 51, [], [None], ["2"], [2**40], [0.5]):
        assert ask("initial_state", inputs={"episodes": episodes})[0] == 400
    assert servers["gru"].errors == []


def test_warm_up_requests_are_of_every_endpoint_and_of_the_same_sizes(case, tmp_path):
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    folder = Path(case.agent.export(tmp_path / "model", warmup=True))
    run = SavedModelSession(folder).run
    seen = set()
    for record in tf.data.TFRecordDataset(
        str(folder / "assets.extra" / "tf_serving_warmup_requests")
    ).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        outputs = run(request.model_spec.signature_name, inputs)
        (size,) = {len(output) for output in outputs.values()}
        seen.add((request.model_spec.signature_name, size))
    assert seen == {(name, size) for name in ENDPOINTS for size in (1, 32)}
