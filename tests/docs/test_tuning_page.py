"""The page about searching: its commands parse, its space can be searched, its table lists a search's files."""

import re
import shlex
from pathlib import Path

from tf_trpo import Experiment
from tf_trpo.cli.train import read_command as read_train
from tf_trpo.cli.tune import read_command
from tf_trpo.tuning.space import check_space, read_space

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")


def test_the_commands_parse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(words) for words in re.findall(r"python -m tf_trpo ([^`\n]+)", PAGE)]
    assert {command for command, *_ in commands} == {"train", "tune"}
    for command, *options in commands:
        if command == "tune":
            read_command(options)
        else:
            Path(options[1]).parent.mkdir(parents=True)
            Path(options[1]).write_text("max_kl: 0.1")
            read_train(options)


def test_the_space_can_be_searched(tmp_path):
    [text] = re.findall(r"on a logarithmic scale:\n\n((?:    .+\n)+)", PAGE)
    (tmp_path / "space.yaml").write_text("\n".join(line.strip() for line in text.splitlines()))
    check_space(read_space(tmp_path / "space.yaml"), Experiment())


def test_the_example_is_python():
    [example] = re.findall(r"```python slow\n(.*?)```", PAGE, re.S)
    [call] = re.findall(r"tuning = Tuning\(.+\)", example)
    names = {"experiment": Experiment("Pendulum-v1")}
    exec(f"from tf_trpo.tuning import Choice, Range, Tuning\n{call}", names)
    assert names["tuning"].trials == 20
