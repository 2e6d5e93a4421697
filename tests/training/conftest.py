"""Environments that are small enough to know everything about, their agents, and agents' files from strangers."""

import json
import resource
import sys
import zipfile

import gymnasium as gym
import h5py
import numpy as np
import pytest

import tf_trpo
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.training import UpdateSettings


class Scripted(gym.Env):
    """Episodes of 3, 5, 2 and 7 steps, over and over; the odd ones time out, the even ones end.

    The reward is the observation's first coordinate; what was seen and given is kept.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self):
        self.made.append(self)
        self.episode = -1
        self.acted_on = []
        self.finished = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.time = 0
        self.total = 0.0
        return self._observe(), {}

    def _observe(self):
        self.observation = np.float32([5 + 3 * np.sin(1.7 * self.episode + 2.3 * self.time), self.time - 40])
        return self.observation

    def step(self, action):
        assert self.action_space.contains(action)
        self.acted_on.append(self.observation)
        reward = float(self.observation[0])
        self.total += reward
        self.time += 1
        ends = self.time == (3, 5, 2, 7)[self.episode % 4]
        if ends:
            self.finished.append((self.total, self.time))
        timeout = self.episode % 2 == 1
        return self._observe(), reward, ends and not timeout, ends and timeout, {}


@pytest.fixture
def scripted():
    """A class of scripted environments, of which `scripted.made` has all."""
    return type("Kept", (Scripted,), {"made": []})


@pytest.fixture(scope="session")
def make_agent():
    """make_agent(environment, optimizers, policy={...}, **update settings): small networks, without XLA."""

    def make(
        environment, policy_optimizer=None, value_optimizer=None, *, jit_compile=False, seed=0, policy=None, **update
    ):
        agent = tf_trpo.TRPO.for_env(
            environment,
            policy=PolicySettings(hidden_sizes=(8,), **policy or {}),
            value=ValueSettings(value_hidden_sizes=(8,)),
            seed=seed,
        )
        update = UpdateSettings(**{"value_epochs": 2, "value_minibatch_size": 32} | update)
        agent.compile(policy_optimizer, value_optimizer, update=update, jit_compile=jit_compile)
        return agent

    return make


KEPT = {}
"""By what they were made of, agents that tests have borrowed, with their states when they were made."""


@pytest.fixture
def borrow_agent(make_agent):
    """As make_agent, for a test only: agents go from test to test, as when they were made, with their traced update."""
    lent = []

    def borrow(environment, policy_optimizer=None, *, policy=None, **settings):
        key = environment, policy_optimizer, *sorted({**(policy or {}), **settings}.items())
        agents = KEPT.setdefault(key, [])
        for agent, start in agents:
            if agent not in lent:
                agent.learner.restore(start)
                agent.env_steps.assign(0)
                agent.iterations.assign(0)
                break
        else:
            agent = make_agent(environment, policy_optimizer, policy=policy, **settings)
            agents.append((agent, agent.learner.state()))
        lent.append(agent)
        return agent

    return borrow


@pytest.fixture(scope="session")
def variables_of():
    """variables_of(agent): all that it remembers, as arrays."""

    def variables(agent):
        parts = {**agent.learner.state(), "counters": [agent.env_steps.numpy(), agent.iterations.numpy()]}
        return [np.array(array) for arrays in parts.values() for array in arrays]

    return variables


@pytest.fixture(scope="session")
def assert_same_weights():
    def check(one, other):
        for first, second in zip(one, other, strict=True):
            np.testing.assert_array_equal(first, second)

    return check


SEEN = []
WATCHED = ("import", "open", "exec", "compile", "marshal.loads", "pickle.find_class", "os.system", "os.exec")
WATCHED += ("subprocess.Popen", "socket.connect", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen")


def watch(event, arguments):
    if SEEN and event in WATCHED:
        SEEN.append((event, str(arguments[0]) if arguments else ""))


sys.addaudithook(watch)  # stays for good; it looks on only during `watched`


@pytest.fixture(scope="session")
def saved(make_agent, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "agent.keras"
    make_agent("Pendulum-v1").save(path)
    tf_trpo.load(path)  # what Keras imports when it loads for the first time is there now
    return path


@pytest.fixture
def stranger(saved, tmp_path):
    """stranger(layer=, layers=, config=, weights=, members=): a copy of a good file with that changed."""

    def make(layer=None, layers=None, config=None, weights=None, members=None, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(saved) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        settings = json.loads(content["config.json"])
        network = settings["config"]["policy"]["config"]["encoder"]["config"]["network"]["config"]["layers"]
        if layer is not None:
            network[1] = layer(network[1])
        if layers is not None:
            layers(network)
        if config is not None:
            config(settings)
        content["config.json"] = json.dumps(settings).encode()
        if weights is not None:
            copy = tmp_path / "model.weights.h5"
            copy.write_bytes(content["model.weights.h5"])
            with h5py.File(copy, "r+") as file:
                weights(file)
            content["model.weights.h5"] = copy.read_bytes()
            copy.unlink()
        entries = list(content.items()) if members is None else members(content)
        path = tmp_path / "stranger.keras"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in entries:
                archive.writestr(name, data)
        return path

    return make


@pytest.fixture(scope="session")
def refusal():
    """refusal(path, *events): why a file is refused, with no other events in the process than opening it."""

    def refuse(path, *harmless):
        modules = set(sys.modules)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        SEEN.append(("begin", ""))
        try:
            with pytest.raises(ValueError, match="cannot be loaded: ") as raised:
                tf_trpo.load(path)
        finally:
            seen = SEEN[1:]
            SEEN.clear()
        message = str(raised.value)
        assert message.startswith(f"{path} cannot be loaded: ")
        assert "\n" not in message
        assert set(sys.modules) == modules
        opened = [name for event, name in seen if event == "open"]
        # Keras asks how much memory is free, if psutil is installed.
        known = {str(path), "/proc/meminfo"}
        assert all(name in known or "tf_trpo-load-" in name or name.isdecimal() for name in opened), opened
        assert {event for event, _ in seen} <= {"open", *harmless}, seen
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # kB
        return message

    return refuse


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Name of a module that leaves a file when it is imported, and that file."""
    sprung = tmp_path / "sprung"
    (tmp_path / "stranger_module.py").write_text(f"open({str(sprung)!r}, 'w').write('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "stranger_module"
    assert not sprung.exists()
    assert "stranger_module" not in sys.modules
