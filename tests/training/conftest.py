"""Agents' files from strangers."""

import json
import resource
import sys
import zipfile

import h5py
import pytest

import tf_trpo

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
