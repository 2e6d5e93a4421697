"""`export` with its options: formats, warm-up requests, the model's card and metadata."""

import contextlib
import io
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.serve import ServeOptions
from tf_trpo.cli.train import read_command
from tf_trpo.experiment.model_card import training_command
from tf_trpo.serving import read_metadata

SMALL = ["--total-steps", "40", "--num-steps", "20", "--hidden-sizes", "4", "--value-hidden-sizes", "4"]
SMALL += ["--no-jit-compile", "--value-epochs", "1", "--eval-episodes", "2", "--seed", "6", "--preset", "none"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run folder, what training printed)."""
    folder = tmp_path_factory.mktemp("run") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        main(["train", "--env", "CartPole-v1", "--run-dir", str(folder), "--export", *SMALL])
    return folder, said.getvalue()


@pytest.fixture(scope="module")
def run(trained):
    return trained[0]


def test_training_says_how_to_serve_what_it_has_exported(trained):
    folder, said = trained
    command = shlex.split(re.search(r"^Serve the model: +(.+)$", said, re.M)[1])
    assert command[1:4] == ["-m", "tf_trpo", "serve"]
    options = parse(ServeOptions, command[4:], "serve")
    assert (options.model, options.name) == (folder / "saved_model", "CartPole-v1")


def exported(run, capsys, *options):
    capsys.readouterr()
    main(["export", str(run), *map(str, options)])
    return Path(capsys.readouterr().out.strip())


def test_the_metadata_are_those_of_the_run(run, tmp_path, capsys):
    evaluation = json.loads((run / "evaluation.json").read_text())
    for folder in (exported(run, capsys, "--output", tmp_path / "model"), run / "saved_model" / "1"):
        metadata = read_metadata(folder)
        assert metadata.environment == "CartPole-v1"
        assert metadata.evaluation == evaluation
        assert metadata.training_steps >= 40


@pytest.mark.parametrize(("format", "file"), [("litert", "model.tflite"), ("onnx", "model.onnx")])
def test_other_formats(run, tmp_path, capsys, format, file):
    folder = exported(run, capsys, "--output", tmp_path / "model", "--format", format)
    assert (folder / file).is_file()
    assert read_metadata(folder).environment == "CartPole-v1"


def test_warm_up_requests(run, tmp_path, capsys):
    folder = exported(run, capsys, "--output", tmp_path / "model", "--warmup")
    assert (folder / "assets.extra" / "tf_serving_warmup_requests").is_file()


def test_the_card_says_how_the_model_came_to_be(run, tmp_path, capsys):
    exported(run, capsys, "--output", tmp_path / "Some-model")
    folder = exported(run, capsys, "--output", tmp_path / "Some-model", "--card")
    card = (folder.parent / "README.md").read_text(encoding="utf-8")
    config = json.loads((run / "config.json").read_text())
    steps = read_metadata(folder).training_steps
    assert card.startswith("# Some-model\n\nVersion 2: a policy for CartPole-v1, trained for")
    assert f"trained for {steps:,} environment steps with seed 6." in card
    assert f"- Commit: {config['commit'] or 'not known'}\n" in card
    assert f"tensorflow {config['versions']['tensorflow']}" in card
    rows = re.findall(r"^\| (most likely|sampled) \| (\S+) ± \S+ \| \S+ \| (\d+) \|$", card, re.M)
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert rows[0] == ("most likely", f"{evaluation['mean_return']:.1f}", "2")
    assert rows[1][0] == "sampled"
    assert rows[1][2] == "20"


@pytest.mark.parametrize(
    "changes", [{}, {"algorithm": "kl-penalty", "target_kl": 0.5}, {"radius": "adaptive"}], ids=str
)
def test_the_command_of_the_card_has_the_settings_of_the_run(run, changes):
    experiment = Experiment.from_run(run).replace(**changes)
    program, script, *options = shlex.split(training_command(experiment))
    assert (program, script) == ("python", "scripts/train.py")
    assert read_command(options).experiment == experiment.replace(export=False)


def test_what_cannot_be_done_is_refused(run, tmp_path, refused, capsys, monkeypatch):
    exported(run, capsys, "--output", tmp_path / "model")
    assert "holds versions in format saved_model" in refused(
        "export", run, "--output", tmp_path / "model", "--format", "litert"
    )
    assert "warm-up requests are for a saved_model" in refused(
        "export", run, "--output", tmp_path / "other", "--format", "litert", "--warmup"
    )
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    assert 'pip install "tf_trpo[onnx]"' in refused("export", run, "--output", tmp_path / "other", "--format", "onnx")


@pytest.mark.parametrize("text", ["", "[]", '{"mean_return": "high"}'])
def test_an_evaluation_that_cannot_be_read_is_refused(run, tmp_path, refused, text):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "evaluation.json").write_text(text)
    assert "evaluation.json cannot be read" in refused("export", copy, "--output", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_run_without_an_evaluation_is_exported_without(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "evaluation.json").unlink()
    assert read_metadata(exported(copy, capsys, "--output", tmp_path / "model")).evaluation is None
