"""Agents' files from strangers: refused in one line, with nothing imported, run, read or allocated."""

import json
import os
import resource
import shutil
import sys
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest

import tf_trpo

SEEN = []
WATCHED = ("import", "open", "exec", "compile", "marshal.loads", "pickle.find_class", "os.system", "os.exec")
WATCHED += ("subprocess.Popen", "socket.connect", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen")


def watch(event, arguments):
    if SEEN and event in WATCHED:
        SEEN.append((event, str(arguments[0]) if arguments else ""))


sys.addaudithook(watch)  # stays for good; it looks on only during `watched`


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "agent.keras"
    agent = tf_trpo.TRPO.for_env("Pendulum-v1", hidden_sizes=[4], value_hidden_sizes=[4], seed=0)
    agent.compile(jit_compile=False)
    agent.save(path)
    tf_trpo.load(path)  # what Keras imports when it loads for the first time is there now
    return path


@pytest.fixture
def stranger(saved, tmp_path):
    """stranger(layer=..., config=..., weights=..., members=...): a copy of a good file with that changed."""

    def make(layer=None, config=None, weights=None, members=None, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(saved) as archive:
            content = {name: archive.read(name) for name in archive.namelist()}
        settings = json.loads(content["config.json"])
        if layer is not None:
            layers = network(settings)
            layers[1] = layer(layers[1])
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


def refusal(path, *harmless):
    """Why a file is refused; what happened in the process meanwhile is checked."""
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
    assert all(name == str(path) or "tf_trpo-load-" in name or name.isdecimal() for name in opened), opened
    assert {event for event, _ in seen} <= {"open", *harmless}, seen
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # kB
    return message


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Name of a module that leaves a file when it is imported, and that file."""
    sprung = tmp_path / "sprung"
    (tmp_path / "stranger_module.py").write_text(f"open({str(sprung)!r}, 'w').write('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "stranger_module"
    assert not sprung.exists()
    assert "stranger_module" not in sys.modules


def node(module, name, config=None, **others):
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": None, **others}


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


CODE = "4wAAAAAAAAAAAAAAAAEAAAADAAAA8w=="
LAMBDA = {"class_name": "__lambda__", "config": {"value": CODE}}
NOT_ALLOWED = {
    "a module of somebody": node("stranger_module", "Layer"),
    "its function": node("keras.layers", "Activation", {"activation": function("stranger_module", "run")}),
    "os.system": node("keras.layers", "Activation", {"activation": function("os", "system")}),
    "eval": node("keras.layers", "Activation", {"activation": function("builtins", "eval")}),
    "a download": node("keras.layers", "Activation", {"activation": function("keras.utils", "get_file")}),
    "safe mode off": node(
        "keras.layers", "Dense", {"units": function("keras.config", "enable_unsafe_deserialization")}
    ),
    "another model": node("keras.layers", "Activation", {"activation": function("keras.models", "load_model")}),
    "downloaded weights": node("keras.applications", "ResNet50"),
    "Lambda": node("keras.layers", "Lambda", {"function": LAMBDA}),
    "Lambda of another name": node("keras.src.layers.core.lambda_layer", "Lambda", {"function": LAMBDA}),
    "Lambda in the older form": {"class_name": "Lambda", "config": {"function": [CODE, None, None]}},
    "a lambda": node("keras.layers", "Activation", {"activation": LAMBDA}),
    "a lambda deep in a layer": node("keras.layers", "TimeDistributed", {"layer": node("keras.layers", "Lambda")}),
    "vocabulary": node("keras.layers", "StringLookup", {"vocabulary": "/etc/hostname"}),
    "vocabulary of numbers": node("keras.layers", "IntegerLookup", {"vocabulary": "/etc/hostname"}),
    "vocabulary of texts": node("keras.layers", "TextVectorization", {"vocabulary": "/etc/hostname"}),
    "lookup by its own name": node("keras.src.layers.preprocessing.index_lookup", "IndexLookup"),
    "SavedModel": node("keras.layers", "TFSMLayer", {"filepath": "/tmp"}),
    "PyTorch": node("keras.layers", "TorchModuleWrapper", {"module": "gASVAAAA"}),
    "JAX": node("keras.layers", "JaxLayer"),
    "Flax": node("keras.layers", "FlaxLayer"),
    "features": node("keras.utils", "FeatureSpace"),
    "a callback": node("keras.callbacks", "CSVLogger", {"filename": "/tmp/log"}),
    "a module that Keras would import": node("keras.src.legacy.saving.nothing", "Layer"),
    "a package that Keras would import": node("keras_hub.models", "Backbone"),
    "a private function": function("keras.src.ops.numpy", "absolute"),
    "a type by its module": {"class_name": "__typespec__", "module": "os", "spec_name": "x", "config": []},
    "an array of texts": {"class_name": "__numpy__", "config": {"value": "a", "dtype": "S9999999999"}},
    "a name that is no text": node("keras.layers", ["Dense"]),
    "no config": {"class_name": "Dense", "module": "keras.layers"},
    "a registered name nobody has": node(None, "Layer", registered_name="stranger>Layer"),
}


@pytest.mark.parametrize("name", NOT_ALLOWED)
def test_what_would_run_read_or_import_is_refused_by_its_place(name, stranger, trap):
    message = refusal(stranger(layer=lambda _: NOT_ALLOWED[name]))
    assert "config.json/config/policy/config/encoder/config/network/config/layers/1" in message


@pytest.mark.parametrize(
    "where", ["compile_config", "build_config", "inbound_nodes", "arguments", "custom", "registered_name"]
)
def test_it_is_found_wherever_it_stands(where, stranger, trap):
    message = refusal(stranger(layer=lambda layer: {**layer, where: [{"deep": [node("stranger_module", "Layer")]}]}))
    assert "stranger_module.Layer" in message
    assert "custom_objects" in message


def test_another_root_is_refused(stranger):
    def other(settings):
        policy = settings["config"]["policy"]
        settings.clear()
        settings.update(policy)

    assert "it holds a Policy, not a TRPO agent" in refusal(stranger(config=other))
    assert "it holds a list, not a TRPO agent" in refusal(
        stranger(members=lambda content: [*(content | {"config.json": b"[]"}).items()])
    )


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe{", b"[" * 10**6, b'{"a":' * 5000, b"1" * 10**5, b"nul", b'"\xff"']
)
def test_a_config_that_is_no_json_is_refused(text, stranger):
    assert "config.json" in refusal(stranger(members=lambda content: [*(content | {"config.json": text}).items()]))


def test_nesting_and_size_are_limited(stranger):
    deep = json.loads("[" * 200 + "]" * 200)
    assert "nested more than 100" in refusal(stranger(config=lambda settings: settings.update(deep=deep)))
    assert "config.json has" in refusal(stranger(config=lambda settings: settings.update(long="x" * 2**24)))


@pytest.mark.parametrize(
    "change",
    [
        lambda settings: settings["config"]["policy"]["config"]["action_distribution"]["config"].update(
            action_shape=[2**24]
        ),
        lambda settings: network(settings)[1]["config"].update(units=2**24),
        lambda settings: network(settings).extend([dense(100_000), dense(100_000)]),
        lambda settings: policy_part(settings, "encoder").update(observation_shape=[2**24]),
    ],
    ids=["actions", "units", "product", "observations"],
)
def test_weights_that_the_file_does_not_have_are_refused_before_they_are_allocated(change, stranger):
    refusal(stranger(config=change), "compile", "exec")


NORMALIZATION = {"axis": [1, 2], "mean": 0.0, "variance": 1.0}


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (
            [("RepeatVector", {"n": 3 * 10**8}), ("Normalization", NORMALIZATION)],
            "Normalization whose mean or variance",
        ),
        ([("RepeatVector", {"n": 2**24}), ("Normalization", NORMALIZATION)], "Normalization whose mean or variance"),
        ([("Normalization", NORMALIZATION | {"axis": -1})], "Normalization whose mean or variance"),
        ([("RepeatVector", {"n": 2**24 + 1})], "config/n is an integer beyond 16777216"),
        ([("Reshape", {"target_shape": [1, -(10**30)]})], "target_shape/1 is an integer beyond 16777216"),
    ],
    ids=["integer and statistics", "statistics", "of one axis", "integer", "in a list"],
)
def test_arrays_that_are_no_weights_are_refused_before_they_are_allocated(layers, reason, stranger):
    """Such a file of 53 kB would make Keras take 9 GB."""
    nodes = [node("keras.layers", name, config) for name, config in layers]
    path = stranger(config=lambda settings: network(settings).extend(nodes))
    began = time.monotonic()
    assert reason in refusal(path)
    assert time.monotonic() - began < 5


def test_seeds_and_steps_of_schedules_may_be_large_and_an_adapted_normalization_is_loaded(tmp_path):
    network = keras.Sequential(
        [keras.layers.Normalization(), keras.layers.Dense(2, kernel_initializer=keras.initializers.GlorotNormal(10**9))]
    )
    network.layers[0].adapt(np.array([[1.0, 2, 3], [2, 5, 9]]))
    agent = tf_trpo.TRPO.for_env("Pendulum-v1", network=network, value_hidden_sizes=[4], seed=10**9)
    agent.compile(
        jit_compile=False, value_optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10**9))
    )
    agent.save(tmp_path / "agent.keras")
    observations = np.array([[0.5, 0.5, 1]], np.float32)
    again = tf_trpo.load(tmp_path / "agent.keras")
    np.testing.assert_array_equal(again.predict(observations), agent.predict(observations))


def policy_part(settings, name):
    return settings["config"]["policy"]["config"][name]["config"]


def network(settings):
    return policy_part(settings, "encoder")["network"]["config"]["layers"]


def dense(units):
    return node("keras.layers", "Dense", {"units": units})


def at_weights(change):
    """A change of one dataset: change(group, name) after it is deleted."""

    def weights(file):
        group = file["layers/policy/encoder/output_layer/vars"]
        del group["0"]
        change(group, "0")

    return weights


def virtual(group, name):
    layout = h5py.VirtualLayout((4, 1), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4, 1))
    group.create_virtual_dataset(name, layout)


def never_written(group, name):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((10**9, 10)), properties)


def twice(group, name):
    group[name] = group["1"]


def cycle(group, name):
    group[name] = group.file["layers"]


def attribute(group, name):
    group[name] = np.zeros((4, 1), np.float32)
    group[name].attrs["callback"] = np.arange(10)


WEIGHTS = {
    "soft link": (lambda group, name: group.__setitem__(name, h5py.SoftLink("/vars/0")), "has a link"),
    "external link": (lambda group, name: group.__setitem__(name, h5py.ExternalLink("/etc/x.h5", "/a")), "has a link"),
    "external file": (
        lambda group, name: group.create_dataset(name, (4, 1), "f4", external=[("/etc/hostname", 0, 16)]),
        "not in the file",
    ),
    "virtual": (virtual, "not in the file"),
    "compressed": (lambda group, name: group.create_dataset(name, (2**28,), "f4", compression="gzip"), "compressed"),
    "chunked": (lambda group, name: group.create_dataset(name, (2**28,), "f4", chunks=(2**20,)), "compressed"),
    "never written": (never_written, "claims 40000000000 bytes"),
    "twice": (twice, "an object twice"),
    "cycle": (cycle, "an object twice"),
    "texts": (lambda group, name: group.create_dataset(name, data=["a", "b"]), "else than an array of numbers"),
    "references": (lambda group, name: group.create_dataset(name, (2,), h5py.ref_dtype), "else than an array"),
    "nothing": (lambda group, name: group.create_dataset(name, data=h5py.Empty("f4")), "else than an array"),
    "a type": (lambda group, name: group.__setitem__(name, np.dtype("f8")), "else than an array"),
    "attribute": (attribute, "an attribute"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_outside_of_the_file_or_larger_than_it_are_refused(name, stranger):
    change, reason = WEIGHTS[name]
    message = refusal(stranger(weights=at_weights(change)))
    assert "model.weights.h5" in message
    assert reason in message


@pytest.mark.parametrize(
    "change",
    [lambda group, name: None, lambda group, name: group.create_dataset(name, data=np.zeros((5, 1), np.float32))],
    ids=["missing", "of another shape"],
)
def test_weights_that_do_not_fit_the_agent_are_refused(change, stranger):
    refusal(stranger(weights=at_weights(change)), "compile", "exec")


def test_a_state_of_another_optimizer_is_refused(stranger):
    def other(file):
        file["vars"]["policy_optimizer_KLPenalty_0"] = np.float32(3)

    assert "policy optimizer's state" in refusal(stranger(weights=other), "compile", "exec")


ENTRIES = {
    "one more": lambda content: [*content.items(), ("assets/x", b"x")],
    "a way out": lambda content: [*content.items(), ("../outside", b"x")],
    "an absolute name": lambda content: [*content.items(), ("/tmp/outside", b"x")],
    "one less": lambda content: [item for item in content.items() if item[0] != "metadata.json"],
    "one renamed": lambda content: [(name.replace("config", "../config"), data) for name, data in content.items()],
    "others": lambda content: [("something.txt", b"else")],
    "none": lambda content: [],
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_archive_of_other_members_is_refused(name, stranger, tmp_path):
    assert "it does not hold exactly" in refusal(stranger(members=ENTRIES[name]))
    assert {path.name for path in tmp_path.iterdir()} == {"stranger.keras"}


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_that_is_there_twice_is_refused(stranger):
    twice = stranger(members=lambda content: [("config.json", b"{}"), *content.items()])
    assert "it does not hold exactly" in refusal(twice)


def test_a_compressed_archive_is_refused(stranger):
    assert "is compressed" in refusal(stranger(compression=zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, saved, tmp_path):
    path = tmp_path / "agent.keras"
    path.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    refusal(path)


def test_a_link_a_folder_and_a_pipe_are_refused(saved, tmp_path):
    (tmp_path / "link.keras").symlink_to(saved)
    assert "it is a link" in refusal(tmp_path / "link.keras")
    (tmp_path / "folder.keras").mkdir()
    assert "it is no file" in refusal(tmp_path / "folder.keras")
    os.mkfifo(tmp_path / "pipe.keras")
    assert "it is no file" in refusal(tmp_path / "pipe.keras")
    assert "No such file" in refusal(tmp_path / "missing.keras")


def test_the_name_of_the_file_decides_nothing(saved, tmp_path):
    """Keras takes other ways, with other holes, for names such as model.h5 or hf://."""
    path = tmp_path / "agent.h5"
    shutil.copy(saved, path)
    assert isinstance(tf_trpo.load(path), tf_trpo.TRPO)
    assert "No such file" in refusal("hf://somebody/model")


class Doubled(keras.layers.Layer):
    """A layer of the user's own."""

    def call(self, inputs):
        return 2 * inputs


def test_a_users_own_layer_is_made_if_it_is_given_or_registered(tmp_path):
    network = keras.Sequential([keras.Input((4,)), Doubled(), keras.layers.Dense(3, "gelu")])
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=network, value_hidden_sizes=[4])
    path = tmp_path / "agent.keras"
    agent.save(path)
    with pytest.raises(ValueError, match=r"layers/1 names .*Doubled, which is neither .*custom_objects"):
        tf_trpo.load(path)
    observations = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    loaded = tf_trpo.load(path, custom_objects={"Doubled": Doubled})
    np.testing.assert_array_equal(loaded(observations).logits, agent(observations).logits)
    with keras.saving.custom_object_scope({"Doubled": Doubled}):
        assert isinstance(tf_trpo.load(path), tf_trpo.TRPO)


def test_networks_of_many_parts_of_keras_come_back(tmp_path):
    inputs = keras.Input((4,))
    wide = keras.layers.Dense(6, keras.activations.swish, kernel_regularizer="l2", bias_constraint="non_neg")(inputs)
    steps = keras.layers.LSTM(3)(keras.layers.Reshape((2, 3))(keras.layers.Dropout(0.5, seed=1)(wide)))
    outputs = keras.layers.Concatenate()([steps, keras.ops.tanh(wide), wide[:, :2], inputs * 3.0])
    inner = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(4)])
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=keras.Model(inputs, outputs), value_network=inner)
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)
    agent.compile(tf_trpo.optimizers.VanillaPolicyGradient("adam"), keras.optimizers.RMSprop(schedule))
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    observations = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded(observations).logits, agent(observations).logits)
    np.testing.assert_array_equal(loaded.value_function(observations), agent.value_function(observations))
