"""Models with a memory in this process and on a server, which is stateless."""

import contextlib
import functools
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector.utils import batch_space

from tf_trpo.serving.local_policy import LocalPolicy
from tf_trpo.serving.remote_policy import RemoteError, RemotePolicy
from tf_trpo.serving.saved_model import ModelError
from tf_trpo.spaces import named

NEW = {"version": "2", "state": "AVAILABLE"}
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


@pytest.fixture(params=["gru", "lstm"])
def case(memories, request):
    return memories[request.param]


@pytest.mark.parametrize("seed", [None, (7, 0)])
def test_a_local_policy_remembers_until_an_episode_begins(case, seed, by_agent):
    policy, rows = LocalPolicy(case.folder), case.rows(3)
    expected = by_agent(case.agent, rows)
    for _ in range(2):
        policy.begin()
        for row, wanted in zip(rows, expected, strict=True):
            found = named("actions", policy.act(row, seed))
            for name, value in found.items():
                close(value, wanted["act" if seed is None else "act_stochastic"][name])


@pytest.mark.parametrize(
    ("outputs", "endpoints", "words"),
    [
        (("actions",), ("act", "initial_state"), "no endpoint act from observations to actions"),
        (("actions", "state"), ("act",), "no endpoint initial_state that gives the first one"),
    ],
)
def test_a_foreign_model_that_does_not_return_its_state_is_refused(outputs, endpoints, words, tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, 3), name=name) for name in ("observations", "state")])
    def act(observations, state):
        return dict.fromkeys(outputs, observations + state)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32, name="episodes")])
    def initial_state(episodes):
        return {"state": tf.zeros([tf.shape(episodes)[0], 3])}

    functions = {"act": act, "initial_state": initial_state}
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={name: functions[name] for name in endpoints})
    with pytest.raises(ModelError, match=words):
        LocalPolicy(tmp_path, trust=True)


def test_other_environments_than_those_of_the_episode_are_refused(case):
    policy = LocalPolicy(case.folder)
    policy.act(case.rows(3)[0])
    with pytest.raises(ModelError, match=r"the memory holds 3 episodes, and there are 2 observations: call begin\(\)"):
        policy.act(case.rows(2)[0])


@pytest.fixture(scope="module")
def servers(memories, start_server):
    return {kind: start_server(case.folder, "--max-batch", 50) for kind, case in memories.items()}


def remote(server, case):
    action = batch_space(case.action_space, 1).sample()
    url = f"http://127.0.0.1:{server.port}{server.path}"
    return contextlib.closing(RemotePolicy(url, action))


def test_clients_that_take_turns_have_independent_episodes(case, servers, by_agent):
    """Even if they begin at different times, since the server is stateless."""
    episodes = [case.rows(count, seed) for count, seed in ((1, 1), (2, 2), (1, 3))]
    expected = [by_agent(case.agent, rows) for rows in episodes]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(remote(servers[case.kind], case)) for _ in episodes]
        for step in range(8 + 2):
            for late, (client, rows, wanted) in enumerate(zip(clients, episodes, expected, strict=True)):
                if 0 <= step - late < 8:
                    found = named("actions", client.act(rows[step - late]))
                    for name, value in found.items():
                        close(value, wanted[step - late]["act"][name])
        client, rows, wanted = clients[0], episodes[0], expected[0]
        client.begin()
        close(named("actions", client.act(rows[0], (7, 0)))[name], wanted[0]["act_stochastic"][name])


def test_a_state_is_never_sent_to_another_version(case, start_server, until, by_agent, tmp_path):
    """Its shapes could fit, and the actions would be wrong."""
    [first] = case.folder.iterdir()
    shutil.copytree(first, tmp_path / "model" / "1")
    server, rows = start_server(tmp_path / "model", "--poll-seconds", 0.05), case.rows(1)
    with remote(server, case) as client:
        client.act(rows[0])
        shutil.copytree(first, tmp_path / "model" / "2")
        until(lambda: any(each.items() >= NEW.items() for each in server.get()[1]["model_version_status"]))
        with pytest.raises(RemoteError, match=r"status 404: .* Specific\(model, 1\); .* call begin\(\)"):
            client.act(rows[1])
        client.begin()
        for row, wanted in zip(rows, by_agent(case.agent, rows), strict=True):
            for name, value in named("actions", client.act(row)).items():
                close(value, wanted["act"][name])


def test_simultaneous_clients_have_independent_episodes(memories, servers, by_agent):
    """Waiting requests share a call of the model, each with its own state."""
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
    columns = {"observations": case.rows(2)[0].tolist(), "state": np.full((2, 4), 0.5).tolist()}
    return lambda endpoint, **body: servers["gru"].post({"signature_name": endpoint, **body}), columns


def test_requests_by_row_agree_with_requests_by_column(asked, memories):
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
    "other units": (lambda given: {"inputs": {**given, "state": [[0.0] * 3] * 2}}, r"state.*\[3\].*\[4\]|`\$\.state"),
    "one row less": (lambda given: {"inputs": {**given, "state": given["state"][:1]}}, "inconsistent batch sizes"),
    "no numbers": (lambda given: {"inputs": {**given, "state": [[None] * 4] * 2}}, r"got `null` - at `\$\.state"),
    "null": (lambda given: {"inputs": {**given, "state": None}}, r"got `null` - at `\$\.state`"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_a_state_that_is_missing_or_does_not_fit_is_a_plain_400(asked, change, words):
    ask, columns = asked
    status, answer = ask("act", **change(columns))
    assert status == 400
    assert answer.keys() == {"error"}
    assert re.search(words, answer["error"]), answer["error"]


def test_initial_states_are_limited_to_the_maximum_number_of_rows(asked, servers):
    ask, _ = asked
    zeros = [0.0] * 4
    first = {"state": zeros, "value_state": zeros}
    assert ask("initial_state", instances=[0, 5]) == (200, {"predictions": [first] * 2})
    columns = (200, {"outputs": {name: [zeros] * 2 for name in first}})
    assert ask("initial_state", inputs={"episodes": [0, 5]}) == ask("initial_state", inputs=[0, 5]) == columns
    for episodes in (2, [0] * 51, [], [None], ["2"], [2**40], [0.5]):
        assert ask("initial_state", inputs={"episodes": episodes})[0] == 400
    assert servers["gru"].errors == []
