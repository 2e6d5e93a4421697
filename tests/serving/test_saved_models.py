"""Every model in the checkout: small, with a card and a film, and as good as its card says."""

import functools
import re
import shlex
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

import tf_trpo
from benchmarks.cards import refreshed
from tf_trpo.cli.train import read_command
from tf_trpo.environments import make_vector_environment
from tf_trpo.serving import read_metadata
from tf_trpo.serving.local_policy import LocalPolicy
from tf_trpo.serving.model_versions import version_folders

ROOT = Path(__file__).parents[2] / "saved_models"
MODELS = sorted(path.name for path in ROOT.iterdir() if path.is_dir())
EPISODES = 2
LARGEST_BYTES, LARGEST_FILM = 2_000_000, 400_000
AT_ONCE = ("CartPole-v1", "Pendulum-v1", "Humanoid-v5")
"""Discrete actions, actions in units of their own, and a mirror; the other models are for the slow tests."""


@functools.cache
def loaded(name):
    return LocalPolicy(ROOT / name)


def trainings(document):
    """Arguments of all trainings that documents show."""
    commands = re.findall(r"^    (python scripts/train\.py .+)$", document.replace("\\\n", ""), re.M)
    assert commands
    return [shlex.split(command)[2:] for command in commands]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_small_and_its_card_is_that_of_the_newest_version(name, card_metrics):
    files = [path for path in (ROOT / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST_BYTES
    card = (ROOT / name / "README.md").read_text(encoding="utf-8")
    versions = version_folders(ROOT / name)
    metadata = read_metadata(versions[max(versions)])
    evaluation = metadata.evaluation
    assert metadata.environment == name
    assert metadata.training_steps > 0
    assert evaluation["episodes"] >= 20
    assert f"Version {max(versions)}:" in card
    assert f"{metadata.training_steps:,} environment steps" in card
    (returned,) = re.findall(r"^\| most likely \| (\S+) ± (\S+) \|", card, re.M)
    assert returned == (f"{evaluation['mean_return']:.1f}", f"{evaluation['std_return']:.1f}")
    assert re.search(r"^- Commit: [0-9a-f]{40}$", card, re.M)
    (arguments,) = trainings(card)
    assert read_command(arguments).experiment.env == name
    assert arguments[:2] == ["--preset", "none"]
    assert f"tensorflow {metadata.versions['tensorflow']}" in card
    assert refreshed(ROOT / name / "README.md") == card
    sampled = re.search(r"^\| sampled \| (\S+) ± (\S+) \|", card, re.M)
    assert card_metrics(card) == {
        "mean_reward, most likely actions": " +/- ".join(returned),
        "mean_reward, sampled actions": " +/- ".join(sampled.groups()),
    }


def test_a_card_shows_its_film_which_is_small_and_moves():
    films = sorted(ROOT.glob("*/film.gif"))
    assert {film.parent.name for film in films} == {*MODELS} - {"InvertedPendulum-v5"}
    for film in films:
        assert film.stat().st_size < LARGEST_FILM
        assert "](film.gif)" in (film.parent / "README.md").read_text(encoding="utf-8")
        with Image.open(film) as frames:
            assert frames.n_frames > 40


some_at_once = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in AT_ONCE else pytest.mark.slow) for name in MODELS]
)


@some_at_once
def test_the_agent_next_to_a_card_acts_as_the_exported_policy(name):
    """This includes sampled actions, which depend on the standard deviations."""
    agent, policy = tf_trpo.load(ROOT / name), loaded(name)
    assert int(agent.env_steps.numpy()) == policy.metadata.training_steps
    environment = gym.make(name)
    observations = [environment.reset(seed=0)[0]]
    for _ in range(40):
        observations.append(environment.step(policy.act(observations[-1][None])[0])[0])
    environment.close()
    seen = np.array(observations)
    np.testing.assert_allclose(agent.predict(seen), policy.act(seen), atol=1e-4)
    sampled = agent.predict(seen, stochastic=True, seed=5)
    np.testing.assert_allclose(sampled, policy.act(seen, (5, 0)), atol=1e-4)
    assert np.abs(np.asarray(sampled, float) - agent.predict(seen)).max() > 0.01


def test_the_short_commands_have_the_settings_of_the_cards():
    """A preset may change after a model was trained with it."""
    assert len(MODELS) == 15
    for arguments in trainings((ROOT / "README.md").read_text(encoding="utf-8")):
        short = read_command(arguments).experiment
        (long,) = trainings((ROOT / short.env / "README.md").read_text(encoding="utf-8"))
        assert short == read_command(long).experiment


@some_at_once
def test_a_model_reaches_the_return_of_its_card(name):
    policy = loaded(name)
    try:
        environments = make_vector_environment(policy.metadata.environment, EPISODES)
    except gym.error.DependencyNotInstalled as error:
        pytest.skip(str(error))
    returns, running = np.zeros(EPISODES), np.ones(EPISODES, bool)
    observations, _ = environments.reset(seed=20_000)
    while running.any():
        observations, rewards, terminated, truncated, _ = environments.step(policy.act(observations))
        returns += np.where(running, rewards, 0.0)
        running &= ~(terminated | truncated)
    environments.close()
    said = policy.metadata.evaluation
    # Means over different episodes may differ by four standard errors.
    error = said["std_return"] * np.sqrt(1 / EPISODES + 1 / said["episodes"])
    assert abs(returns.mean() - said["mean_return"]) <= 4 * error + 0.01 * abs(said["mean_return"])
