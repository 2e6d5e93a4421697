"""The head of a model's card, for any name of the environment and any evaluations."""

import configparser
import re
from pathlib import Path

import pytest
import yaml

from benchmarks.cards import _evaluation
from tf_trpo.experiment.model_card import CARD_FOOT, card_head

ROOT = Path(__file__).parents[2]

RESULT = {"mean_return": -0.04, "std_return": 12.345, "mean_length": 7.0, "episodes": 20}


@pytest.mark.parametrize(
    "environment", ["CartPole-v1", "ALE/Pong-v5", "module:Mine-v0", "yes", "1e3", "#x: - [y]", "é"]
)
def test_the_head_is_what_the_hub_reads(environment, tmp_path, card_metrics):
    model = tmp_path / "1.5"
    head = card_head(model, environment, "kl-penalty", {"deterministic": RESULT, "stochastic": None})
    assert card_metrics(head) == {"mean_reward, most likely actions": "-0.04 +/- 12.3"}
    metadata = yaml.safe_load(head.split("---\n")[1])
    assert {environment, "kl-penalty"} < {*metadata["tags"]}
    assert metadata["model-index"][0]["name"] == "1.5"
    assert card_metrics(card_head(model, environment, "trpo", {"stochastic": RESULT | {"mean_return": 1e6}})) == {
        "mean_reward, sampled actions": "1000000.0 +/- 12.3"
    }


def test_small_returns_are_not_written_as_0_and_can_be_read_again(tmp_path, card_metrics):
    small = RESULT | {"mean_return": -1.5e-6, "std_return": 2e-7}
    assert card_metrics(card_head(tmp_path, "E", "trpo", {"stochastic": small})) == {
        "mean_reward, sampled actions": "-1.5e-06 +/- 2e-07"
    }
    assert _evaluation("| sampled | -1.5e-06 ± 2e-07 | 7.0 | 20 |", "sampled") == small


def test_the_license_and_the_installation_are_those_of_the_package(tmp_path):
    package = configparser.ConfigParser()
    package.read(ROOT / "setup.cfg")
    cards = [path.read_text(encoding="utf-8") for path in (ROOT / "saved_models").glob("*/README.md")]
    assert {yaml.safe_load(card.split("---\n")[1])["license"] for card in cards} == {
        package["metadata"]["license"].lower()
    }
    # The license of a user's own model is the user's choice.
    head = card_head(tmp_path, "E-v0", "trpo", {"stochastic": RESULT})
    assert "license" not in yaml.safe_load(head.split("---\n")[1])
    (page,) = re.findall(r"docs/\w+\.md", CARD_FOOT)
    assert (ROOT / page).is_file()
    # No index has the package.
    assert re.findall(r"`(pip install .+?)`", CARD_FOOT) == ["pip install -e ."]


def test_the_film_is_shown_if_there_is_one(tmp_path):
    assert "](film.gif)" not in card_head(tmp_path, "E-v0", "trpo", {"stochastic": RESULT})
    (tmp_path / "film.gif").touch()
    head = card_head(tmp_path, "E-v0", "trpo", {"stochastic": RESULT})
    assert head.endswith(f"\n# {tmp_path.name}\n\n![The policy in E-v0](film.gif)\n")
    # The film may show an earlier version.
    assert "](film.gif)" not in card_head(tmp_path, "E-v0", "trpo", {"stochastic": RESULT}, film=False)


def test_the_name_is_that_of_the_folder_wherever_a_command_runs(tmp_path, monkeypatch):
    named = card_head(tmp_path, "E-v0", "trpo", {"stochastic": RESULT})
    monkeypatch.chdir(tmp_path)
    assert card_head(Path(), "E-v0", "trpo", {"stochastic": RESULT}) == named
