"""`export` with its options: formats, warm-up requests, the model's card and metadata."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tf_trpo
from benchmarks.cards import refreshed
from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.serve import ServeOptions
from tf_trpo.cli.train import read_command
from tf_trpo.experiment.model_card import training_command
from tf_trpo.extras import not_installed
from tf_trpo.serving import read_metadata


@pytest.fixture
def exported(finished, tmp_path, monkeypatch, capsys):
    """exported(*options): exports the finished run to the folder `model`, and returns the version's folder."""
    monkeypatch.chdir(tmp_path)

    def export(*options):
        capsys.readouterr()
        main(["export", str(finished.folder.path), "--output", "model", *options])
        return Path(capsys.readouterr().out.strip())

    return export


def test_training_prints_how_to_serve_its_exported_model(finished):
    command = shlex.split(re.search(r"^Serve the model: +(.+)$", finished.output, re.M)[1])
    assert command[1:4] == ["-m", "tf_trpo", "serve"]
    options = parse(ServeOptions, command[4:], "serve")
    assert (options.model, options.name) == (finished.folder.saved_model, "CartPole-v1")


def check_metadata(folder, run):
    metadata = read_metadata(folder)
    assert (metadata.environment, metadata.evaluation) == ("CartPole-v1", run.read_evaluation())
    assert metadata.training_steps >= 64


@pytest.mark.parametrize(("format", "file"), [("litert", "model.tflite"), ("onnx", "model.onnx")])
def test_other_formats(exported, finished, format, file):
    folder = exported("--format", format)
    assert (folder / file).is_file()
    check_metadata(folder, finished.folder)


def test_warm_up_requests_metadata_and_card(finished, exported, refused, card_metrics):
    run, versions = (
        finished.folder,
        [finished.folder.saved_model / "1", exported("--warmup"), exported("--card", "--film")],
    )
    for folder in versions:
        check_metadata(folder, run)
    warm = [(folder / "assets.extra" / "tf_serving_warmup_requests").is_file() for folder in versions]
    assert warm == [False, True, False]
    path = Path("model/README.md")
    card = path.read_text(encoding="utf-8")
    config, evaluation = run.read_config(), run.read_evaluation()
    steps = read_metadata(versions[2]).training_steps
    film = "![The policy in CartPole-v1](film.gif)"
    assert f"\n# model\n\n{film}\n\nVersion 2: a policy for CartPole-v1, trained for" in card
    assert f"trained for {steps:,} environment steps with seed 6." in card
    assert f"- Commit: {config['commit'] or 'not known'}\n" in card
    assert f"tensorflow {config['versions']['tensorflow']}" in card
    rows = re.findall(r"^\| (most likely|sampled) \| (\S+) ± \S+ \| \S+ \| (\d+) \|$", card, re.M)
    assert rows[0] == ("most likely", f"{evaluation['mean_return']:.1f}", "2")
    assert (rows[1][0], rows[1][2]) == ("sampled", "20")
    values = card_metrics(card)
    assert list(values) == [f"mean_reward, {actions} actions" for actions, *_ in rows]
    assert [value.split(" ")[0] for value in values.values()] == [returned for _, returned, _ in rows]
    with Image.open("model/film.gif") as frames:
        assert frames.n_frames > 8
    # The program that updates the cards of this repository adds its license only.
    assert refreshed(path) == card.replace("---\n", "---\nlicense: mit\n", 1)
    weights = [tf_trpo.load(folder).get_weights() for folder in ("model", run.path)]
    np.testing.assert_equal(*weights)
    error = refused("export", run.path, "--output", "model", "--format", "litert")
    assert "holds versions in format saved_model" in error


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm": "kl-penalty", "target_kl": 0.5},
        {"radius": "adaptive"},
        {"env_kwargs": {"g": 1.5, "name": None}},
        {"env": "my_mod:Room"},
        {"wrapper": ["my_mod:Wrapped"]},
        {"wrapper": ["gymnasium.wrappers:FlattenObservation"]},
        {"costs": ["speed", "my_mod:height"]},
    ],
    ids=str,
)
def test_the_command_of_the_card_has_the_settings_of_the_run(finished, changes):
    experiment = Experiment.from_run(finished.folder.path).replace(**changes)
    program, script, *options = shlex.split(training_command(experiment))
    assert (program, script) == ("python", "scripts/train.py")
    command = read_command(options)
    assert command.experiment == experiment.replace(export=False)
    assert command.options.allow_import == ("my_mod" in str(changes))


def test_impossible_options_are_refused(run, refused, monkeypatch):
    export = ["export", "run", "--output", "model", "--format"]
    assert "warm-up requests are for a saved_model" in refused(*export, "litert", "--warmup")
    assert "format must be saved_model with --film" in refused(*export, "onnx", "--film")
    assert "format must be saved_model with --card" in refused(*export, "litert", "--card")
    monkeypatch.setenv("SDL_VIDEODRIVER", "none")
    assert "CartPole-v1 cannot be filmed" in refused("export", "run", "--output", "model", "--film")
    monkeypatch.delenv("SDL_VIDEODRIVER")
    monkeypatch.setitem(sys.modules, "imageio", None)
    assert str(not_installed("imageio")) in refused("export", "run", "--output", "model", "--film")
    assert not Path("model").exists()
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    assert str(not_installed("tf2onnx")) in refused(*export, "onnx")


def test_an_unreadable_evaluation_is_refused_but_a_missing_one_is_not(run, refused):
    export = ["export", "run", "--output", "model"]
    for text in ("", "[]", '{"mean_return": "high"}'):
        run.evaluation.write_text(text)
        assert "evaluation.json cannot be read" in refused(*export)
    assert not Path("model").exists()
    run.evaluation.unlink()
    main(export)
    assert read_metadata(Path("model/1")).evaluation is None
