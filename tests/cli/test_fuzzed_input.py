"""More than a thousand bad inputs, drawn from a seed: each ends with one line, status 2, and nothing changed.

Each is bad for certain: the generators make nothing that could be meant. `-s` prints how many of each kind there were.
"""

import hashlib
import json
import os
import random
import shutil
import string
import zipfile
from pathlib import Path
from typing import NamedTuple

import keras
import pytest
import yaml

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import COMMANDS, main
from tf_trpo.learning.learner import Learner
from tf_trpo.models import PolicySettings, ValueSettings
from tf_trpo.optimizers import ALGORITHMS

EXPERIMENTS = [Experiment().replace(algorithm=algorithm) for algorithm in ALGORITHMS]
DEFAULTS = Experiment().replace(radius="adaptive").flat()
for each in EXPERIMENTS:
    DEFAULTS = each.flat() | DEFAULTS
FREE_TEXTS = ("info_keys", "costs")
"""Settings of texts, which may be anything but empty."""
QUICK = 4
"""Cases of each kind that are tried in the quick suite; the slow one tries all."""


class Case(NamedTuple):
    """A command line, and the change that is made to its folder before it runs."""

    arguments: list
    prepare: object = None


class Written(keras.callbacks.Callback):
    """Writes a checkpoint before the first iteration, and then ends the fit."""

    def __init__(self, directory):
        super().__init__()
        self._directory = directory

    def on_train_begin(self, logs=None):
        self.params["trainer"].save_checkpoint(self._directory)
        raise KeyboardInterrupt


@pytest.fixture(scope="session")
def trained(finished, tmp_path_factory):
    """Folders of a small run, and of checkpoints with another network and of another environment."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(finished.folder.path, folder / "run", ignore=shutil.ignore_patterns("tensorboard", "saved_model"))
    # One checkpoint to damage, and no other one to fall back on.
    sorted((folder / "run" / "checkpoints").iterdir())[0].unlink()
    for name, env, units in (("wider", "CartPole-v1", 5), ("acrobot", "Acrobot-v1", 4)):
        agent = tf_trpo.TRPO.for_env(env, policy=PolicySettings((units,)), value=ValueSettings((4,)))
        with pytest.MonkeyPatch.context() as patch:
            # No update is made.
            patch.setattr(Learner, "trace", lambda *_, **named: None)
            with pytest.raises(KeyboardInterrupt):
                agent.fit(env, 64, num_steps=32, callbacks=Written(folder / name / "checkpoints"), verbose=0)
    return folder


RESUME = ["train", "--resume", "run", "--total-steps", "640"]


def preset(content):
    """A training with a preset of the given text or bytes."""
    content = content.encode() if isinstance(content, str) else content
    return Case(["train", "--preset", "mine.yaml"], lambda folder: (folder / "mine.yaml").write_bytes(content))


def word(rng, letters=string.ascii_lowercase):
    return "".join(rng.choices(letters, k=rng.randint(3, 12)))


def bad_id(rng):
    return rng.choice([f"{word(rng)}x-v0", f"CartPole-v{rng.randint(2, 99)}", f"no/{word(rng)}-v1", word(rng) + "!"])


def bad_text(rng, name):
    """A value on the command line that the named setting cannot have."""
    default = DEFAULTS[name]
    if name in FREE_TEXTS:
        return ""
    if name == "env":
        return rng.choice([bad_id(rng), f"{word(rng)}:CartPole-v1", f"os:{word(rng)}-v0"])
    if isinstance(default, bool | str):
        return f"{word(rng)}-{rng.randint(0, 99)}"
    digits = str(rng.randint(10**31, 10**40))
    negative = f"-{rng.randint(1, 10**6)}"
    if isinstance(default, tuple):
        return rng.choice([negative, "0", digits, word(rng, "qxyz"), f"{rng.randint(1, 9)}.5", "", "nan"])
    if isinstance(default, int):
        return rng.choice([negative, digits, word(rng, "qxyz"), f"{rng.randint(1, 9)}.5", "nan", "inf", ""])
    return rng.choice(
        [f"{negative}.5", f"1e{rng.randint(31, 400)}", "nan", "inf", "-inf", word(rng, "qxyz"), "", "0x1"]
    )


def algorithm_for(name):
    """Options by which a setting has an effect."""
    owners = [each.flat()["algorithm"] for each in EXPERIMENTS if name in each.flat()]
    return ["--algorithm", owners[0]] if owners else ["--radius", "adaptive"]


def values_on_the_command_line(rng):
    name = rng.choice(sorted(DEFAULTS))
    if rng.random() < 0.05:
        folders = ["run", "run/config.json", "run/agent.keras/deep", "x" * 300, f"new/{'y' * 300}", "/dev/null/x"]
        return Case(["train", "--run-dir", rng.choice(folders)])
    option = f"--{name.replace('_', '-')}"
    return Case(["train", *algorithm_for(name), f"{option}={bad_text(rng, name)}"])


def options_that_are_not_there(rng):
    command = rng.choice(sorted(COMMANDS))
    known = rng.choice(sorted(DEFAULTS)).replace("_", "-")
    place = rng.randint(0, len(known))
    typo = f"--{known[:place]}q{known[place:]}q"
    garbage = ["--", f"-{word(rng)}", f"--{word(rng)}q={rng.random()}", word(rng), "", "\x1b[31m", "a\nb", "--no-env"]
    rest = rng.choice([[typo], [typo, str(rng.random())], [rng.choice(garbage), word(rng)], [f"{typo}={word(rng)}"]])
    return Case([command, *rest])


def values_of_other_commands(rng):
    number = rng.choice(["0", "-3", "1.5", word(rng, "qxyz"), "nan", str(rng.randint(10**12, 10**20)), ""])
    lines = [
        f"evaluate run --episodes {number}",
        f"evaluate run --seed={rng.choice(['-1', '1.5', 'x', str(2**31 + rng.randint(0, 9))])}",
        f"evaluate {word(rng)}",
        f"evaluate {'x' * rng.randint(256, 5000)}",
        "evaluate run/config.json",
        "evaluate",
        "export run",
        f"export {word(rng)} --output model",
        "export run --output run/config.json",
        f"export run --output run/config.json/{word(rng)}",
        f"plot {word(rng)}",
        f"plot run --x={word(rng)}",
        f"plot run --output={word(rng)}",
        f"play --episodes={number} run",
        "play CartPole-v1",
        f"serve run --port={rng.choice(['-1', 'x', '65536', number])}",
        f"train --resume {word(rng)}",
        f"{word(rng)}q",
    ]
    return Case(rng.choice(lines).split(" "))


def bad_value(rng, name):
    """A value in a preset that the named setting cannot have."""
    some = [{word(rng): 1}, [[1]], [{"a": 1}], f"--{word(rng)}", ["--tyro-write-completion", "bash", "stolen"]]
    if name in FREE_TEXTS:
        return rng.choice([*some[:3], [""]])
    if name in ("env", "activation") or isinstance(DEFAULTS[name], bool):
        some += [["a", "b"]]
    return rng.choice([*some, bad_text(rng, name) or "q", f"{word(rng)} {word(rng)}"])


def used_by(name, value):
    option, choice = algorithm_for(name)
    return {option.removeprefix("--"): choice, name: value}


def presets_with_bad_values(rng):
    name = rng.choice(sorted(DEFAULTS))
    return preset(yaml.safe_dump(used_by(name, bad_value(rng, name)), allow_unicode=rng.random() < 0.5))


def presets_with_unknown_keys(rng):
    settings = dict(rng.sample([(key, value) for key, value in DEFAULTS.items() if type(value) is int], 3))
    unknown = rng.choice([word(rng) + "q", "preset", "resume", "allow_import", "allow-import", "env ", 3, None, True])
    return preset(yaml.safe_dump(settings | {unknown: rng.choice([1, "x", True, ["--allow-import"]])}))


def presets_with_bad_environments(rng):
    name = rng.choice(sorted(set(DEFAULTS) - {"env"}))
    env = rng.choice(["CartPole-v1", "Hopper-v5", f"{word(rng)}-v0"])
    environments = rng.choice(
        [
            {"CartPole-v1": used_by(name, bad_value(rng, name))},
            {env: {}, "CartPole-v1": used_by(name, bad_value(rng, name))},
            {env: {rng.choice([word(rng) + "q", "preset", "environments", "allow-import", "env ", 3, None, True]): {}}},
            {env: {"env": rng.choice([env, "Pendulum-v1", None, [env]])}},
            {env: rng.choice([None, 3, True, word(rng), [], [{"gamma": 0.5}], "{}"])},
            {rng.choice([None, 3, 1.5, False, ""]): {}},
            rng.choice([None, 3, True, word(rng), [], [env], [{env: {}}]]),
        ]
    )
    return preset(yaml.safe_dump({"gamma": 0.5, "environments": environments}))


def presets_that_are_none(rng):
    contents = [
        rng.randbytes(rng.randint(1, 500)) + b"\xff",
        b"[" * rng.randint(1, 5000),
        b"{a: " * rng.randint(1, 3000),
        b"- " * rng.randint(1, 2000) + b"a",
        b"!!python/object/apply:os.system ['touch stolen']",
        b"env: !!python/name:os.system",
        b"!!python/module:" + word(rng).encode(),
        b"gamma: !!int x\n",
        b"gamma: !!timestamp x\n",
        b"gamma: !!bool x\n",
        b"env: 2026-99-99\n",
        b"seed: " + b"9" * 5000,
        b"a: &a [*a, *a]\n",
        b"a: &a [x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n",
        b"#" * (2**20 + rng.randint(1, 100)),
        word(rng).encode(),
        b"? [a]\n: 1\n",
        b"gamma: 0.5\n" + bytes([rng.randint(1, 8)]),
        b"gamma: 0.5\n  : :\n-",
        b"environments: &a {CartPole-v1: *a}\n",
        b"environments:\n  ? [a]\n  : {}\n",
    ]
    return preset(rng.choice(contents))


def with_config(change):
    """Change the settings in the run's config.json."""

    def prepare(folder):
        path = folder / "run" / "config.json"
        config = json.loads(path.read_text())
        change(config["settings"])
        path.write_text(json.dumps(config))

    return prepare


def configs_with_bad_values(rng):
    """Bad values in the config.json of a run to resume."""
    name = rng.choice(sorted(set(Experiment().flat()) - {"export", "total_steps"}))
    other = rng.choices([None, {word(rng): 1}, used_by(name, bad_value(rng, name))], [1, 1, 8])[0]
    return Case(RESUME, with_config(lambda settings: settings.pop(name) if other is None else settings.update(other)))


def configs_of_other_environments(rng):
    """Other or impossible environments in the config.json of a run to evaluate."""
    kinds = [bad_id(rng), f"{word(rng)}:CartPole-v1", "os:x", "", None, 3, 1.5, True, [word(rng)], {"a": word(rng)}, []]
    others = ["Pendulum-v1", "Acrobot-v1", "FrozenLake-v1", "MountainCarContinuous-v0", "a\nb", "\x1b[2J"]
    env = rng.choice([*kinds, *others])
    arguments = rng.choice([[], ["--episodes", "1"], ["--json"], ["--stochastic"]])
    return Case(["evaluate", "run", *arguments], with_config(lambda settings: settings.update(env=env)))


def configs_that_are_none(rng):
    contents = [
        rng.randbytes(rng.randint(1, 300)) + b"\xff",
        b"[" * rng.randint(1000, 50_000),
        b'{"settings":' * rng.randint(1, 2000),
        b"null",
        json.dumps({"settings": rng.choice([1, "x", None, [1]])}).encode(),
        json.dumps({word(rng): {}}).encode(),
        b" " * (2**20 + rng.randint(1, 100)),
        b'{"settings": {"seed": ' + b"9" * 5000 + b"}}",
    ]
    content = rng.choice(contents)
    command = rng.choice([["evaluate", "run"], ["export", "run", "--output", "model"], RESUME])

    def prepare(folder):
        path = folder / "run" / "config.json"
        whole = path.read_bytes()
        path.write_bytes(content if rng.random() < 0.7 else whole[: rng.randint(0, len(whole) - 3)])

    return Case(command, prepare)


def histories_that_are_none(rng):
    contents = [
        rng.randbytes(rng.randint(10, 500)) + b"\n\xff\xff\n\xff",
        f"{word(rng)},{word(rng)}\n1,2\n".encode(),
        f"time/iterations,x\n{word(rng, 'qxyz')},2\n".encode(),
        b"a\n" + b"x" * 200_000 + b"\n",
    ]
    content = rng.choice(contents)
    return Case(RESUME, lambda folder: (folder / "run" / "history.csv").write_bytes(content))


def for_agent(rng, change):
    command = rng.choice([["evaluate", "run", "--episodes", "1"], ["export", "run", "--output", "model"]])
    return Case(command, lambda folder: change(folder / "run" / "agent.keras"))


def agents_with_bytes_flipped(rng):
    def change(path):
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            entry = rng.choice(archive.infolist())
        # In the content of a member, since a bit of a header may have no meaning.
        begin = entry.header_offset + 30 + len(entry.filename)
        for _ in range(rng.randint(1, 4)):
            content[begin + rng.randrange(entry.file_size)] ^= rng.randint(1, 255)
        if bytes(content) == path.read_bytes():
            content[begin] ^= 1
        path.write_bytes(content)

    return for_agent(rng, change)


def agents_cut_short(rng):
    def change(path):
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(len(content) - 1)])

    return for_agent(rng, change)


def rewritten(path, change):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def agents_with_members_replaced(rng):
    def change(members):
        name = rng.choice(["config.json", "model.weights.h5"])
        way = rng.randrange(5)
        if way == 0:
            members[name] = rng.randbytes(rng.randint(0, 2000))
        elif way == 1:
            members[name] = members[name][: rng.randrange(len(members[name]) // 2)]
        elif way == 2:
            members["config.json"], members["model.weights.h5"] = members["model.weights.h5"], members["config.json"]
        elif way == 3:
            members[f"{word(rng)}/{word(rng)}"] = b"x"
        else:
            del members[name]

    return for_agent(rng, lambda path: rewritten(path, change))


def agents_with_settings_replaced(rng):
    bad = [None, -3, 10**12, "q", [], {}, [[]], 1.5e300]
    boxes = [{"type": "Box", "shape": shape, "dtype": "float32"} for shape in ([-3], [10**9], "q", None, [5])]
    places = {
        "units": [-3, 10**12, 10**9, "q", [3], {}, 0],
        "activation": ["q", 3, [], {"class_name": "function", "module": "os", "config": "system"}],
        "observations": ["q", None, 4, {}, {"type": "Q"}, *boxes],
        "num_actions": [-3, 10**12, "q", None, [], 3],
        "class_name": ["Lambda", "q", 3, None, ["Dense"], "__lambda__", "__typespec__"],
        "layers": [3, {}, None, "q", [None], [[]], [{"class_name": "Lambda", "config": {}}]],
        "policy": bad,
        "value_function": bad,
    }

    def change(members):
        config = json.loads(members["config.json"])
        name = rng.choice(sorted(places))
        # Keras finds a registered class by that name, whatever the class_name is.
        found = [
            node
            for node in mappings(config["config"])
            if name in node and not (name == "class_name" and node.get("registered_name"))
        ]
        rng.choice(found)[name] = rng.choice(places[name])
        members["config.json"] = json.dumps(config).encode()

    return for_agent(rng, lambda path: rewritten(path, change))


def mappings(value):
    """Every mapping that describes the agent, except for build configs and dtypes."""
    if isinstance(value, dict):
        if value.get("class_name") not in ("DTypePolicy", "Zeros", "Orthogonal"):
            yield value
            for name, part in value.items():
                if name not in ("build_config", "compile_config"):
                    yield from mappings(part)
    elif isinstance(value, list):
        for part in value:
            yield from mappings(part)


def agents_that_are_something_else(rng):
    ways = [
        Path.mkdir,
        os.mkfifo,
        lambda path: path.symlink_to(path.with_name("config.json")),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(rng.randbytes(rng.randint(0, 3000))),
        lambda path: shutil.copy(path.with_name("config.json"), path),
    ]

    def change(path):
        path.unlink()
        rng.choice(ways)(path)

    return for_agent(rng, change)


def for_checkpoint(change):
    def prepare(folder):
        [checkpoint] = (folder / "run" / "checkpoints").iterdir()
        change(checkpoint)

    return Case(RESUME, prepare)


def checkpoints_with_bytes_changed(rng):
    def change(checkpoint):
        content = bytearray(checkpoint.read_bytes())
        if rng.random() < 0.5:
            content[rng.randrange(len(content))] ^= rng.randint(1, 255)
        else:
            content = content[: rng.randrange(len(content))]
        checkpoint.write_bytes(content)

    return for_checkpoint(change)


def checkpoints_that_are_something_else(rng):
    def change(checkpoint):
        run = checkpoint.parent.parent
        moved = checkpoint.rename(run / f"moved-{checkpoint.name}")
        ways = [
            lambda: shutil.copy(run / rng.choice(["agent.keras", "config.json"]), checkpoint),
            lambda: checkpoint.symlink_to(moved),
            lambda: checkpoint.write_bytes(rng.randbytes(rng.randint(0, 1000))),
            checkpoint.mkdir,
        ]
        rng.choice(ways)()

    return for_checkpoint(change)


def checkpoints_of_other_runs(rng):
    other = rng.choice(["wider", "acrobot"])

    def prepare(folder):
        shutil.rmtree(folder / "run" / "checkpoints")
        shutil.copytree(folder / other / "checkpoints", folder / "run" / "checkpoints")

    return Case(["train", "--resume", "run", "--total-steps", str(rng.randint(640, 6400))], prepare)


KINDS = {
    values_on_the_command_line: 360,
    options_that_are_not_there: 150,
    values_of_other_commands: 150,
    presets_with_bad_values: 260,
    presets_with_unknown_keys: 60,
    presets_with_bad_environments: 100,
    presets_that_are_none: 80,
    configs_with_bad_values: 150,
    configs_of_other_environments: 80,
    configs_that_are_none: 60,
    histories_that_are_none: 40,
    agents_with_bytes_flipped: 80,
    agents_cut_short: 60,
    agents_with_members_replaced: 60,
    agents_with_settings_replaced: 60,
    agents_that_are_something_else: 40,
    checkpoints_with_bytes_changed: 80,
    checkpoints_that_are_something_else: 50,
    checkpoints_of_other_runs: 20,
}


def snapshot(folder):
    """Every name in a folder, with size and hash, or the target of a link."""

    def what(path):
        if path.is_symlink():
            return os.readlink(path)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else oct(path.stat().st_mode)

    return {str(path.relative_to(folder)): what(path) for path in sorted(folder.rglob("*"))}


def complaint(case, trained, folder, monkeypatch, capsys):
    """What is wrong with the end of a case; None if it is right."""
    for run in trained.iterdir():
        shutil.copytree(run, folder / run.name)
    if case.prepare is not None:
        case.prepare(folder)
    monkeypatch.chdir(folder)
    before = snapshot(folder)
    status = None
    try:
        main([str(argument) for argument in case.arguments])
    except SystemExit as stop:
        status = stop.code
    except BaseException as error:
        status = f"{type(error).__name__}: {error}"
    said, error = capsys.readouterr()
    after = snapshot(folder)
    wrong = []
    if status != 2:
        wrong.append(f"status {status}")
    if said or error.count("\n") != 1 or not error.startswith("error: ") or not error[:-1].isprintable():
        wrong.append(f"said {said!r} {error!r}")
    if after != before:
        wrong.append(f"changed {sorted(set(before.items()) ^ set(after.items()))}")
    return f"{case.arguments}: {'; '.join(wrong)}" if wrong else None


@pytest.mark.parametrize("most", [QUICK, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_refused_in_one_line_and_changes_nothing(kind, most, trained, tmp_path, monkeypatch, capsys):
    rng = random.Random(f"{kind.__name__} 2015")
    complaints = []
    for number in range(min(most, KINDS[kind])):
        folder = Path(tmp_path, str(number))
        folder.mkdir()
        complaints.append(complaint(kind(rng), trained, folder, monkeypatch, capsys))
        shutil.rmtree(folder)
    assert not any(complaints), "\n".join(filter(None, complaints))
    with capsys.disabled():
        print(f"\n| {kind.__name__.replace('_', ' ')} | {len(complaints)} |", end="")


def test_there_are_more_than_a_thousand_and_the_good_ones_are_not_refused(trained, tmp_path, monkeypatch, capsys):
    """Good runs to evaluate and to export are in tests/cli/test_run_folder_refusals.py."""
    assert sum(KINDS.values()) > 1500
    shutil.copytree(trained / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    main(["train", "--resume", "run", "--total-steps", "65"])
    assert "Mean return" in capsys.readouterr().out
