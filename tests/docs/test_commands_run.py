"""The commands of the pages run in their order, in an empty folder, with short trainings and searches."""

import glob
import re
import shlex
import shutil
from pathlib import Path

import pytest

from tf_trpo.cli import main

ROOT = Path(__file__).parents[2]
NAMES = (
    "algorithms constraints demonstrations environments memory scaling serving settings start tensorboard tuning vine"
)
PAGES = [f"docs/{name}.md" for name in NAMES.split()]
RUNS = {
    "docs/constraints.md": "runs/cartpole",
    "docs/serving.md": "runs/CartPole-v1-0",
    "docs/tensorboard.md": "runs/max_kl-0.01-seed-0",
}
"""Runs that the commands of a page need."""
ROBOT = """
import gymnasium as gym


class Fast(gym.Wrapper):
    def step(self, action):
        *step, info = self.env.step(action)
        return *step, {**info, "speed": 1.0}


gym.register("Robot-v0", lambda: Fast(gym.make("CartPole-v1")), max_episode_steps=500)
"""
LEFT_OUT = re.compile(r"--ray-address|http://|--num-steps 4096|--workers 32")
"""There is no cluster and no server here, and large rollouts take minutes: test_pages.py parses these commands."""


def commands(page):
    """The commands in the console blocks of a page, as lists of words."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^ {4}python (?:-m tf_trpo |scripts/)(.+)$", text, re.M)
    return [shlex.split(line, comments=True) for line in lines if not LEFT_OUT.search(line)]


def shortened(words):
    """A command with a short training or search, and with the files that its patterns match."""
    name, *words = words
    name = Path(name).stem
    short = {"--total-steps": "600", "--steps": "600", "--trials": "2", "--check-seeds": "2", "--eval-episodes": "1"}
    for option in short.keys() & {*words}:
        words[words.index(option) + 1] = short[option]
    if name == "train":
        # A run that was not interrupted is resumed with more steps.
        words += ["--total-steps", "3000"] if "--resume" in words else ["--total-steps", "600", "--no-jit-compile"]
    return [name, *(found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word]))]


@pytest.fixture
def modules(importable, tmp_path):
    """The modules that the pages name, with the classes and functions that they show."""
    environments, constraints = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("environments", "constraints"))
    importable("my_costs", re.search(r"^def far_out.+?\n\n\n", constraints, re.M | re.S)[0])
    importable("my_envs", ROBOT)
    (tmp_path / "modules" / "my_package").mkdir()
    thermostat = re.search(r"^import gymnasium.+?\n\n\n(?=agent =)", environments, re.M | re.S)[0]
    importable("my_package/envs", thermostat)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
# Other packages warn.
@pytest.mark.filterwarnings("default")
def test_its_commands_run(page, modules, run_examples, tmp_path):
    if page == "docs/demonstrations.md":
        # They record the demonstrations that the commands name.
        run_examples((ROOT / page).read_text(encoding="utf-8"))
    shutil.copytree(ROOT / "saved_models" / "CartPole-v1", tmp_path / "saved_models" / "CartPole-v1")
    if page in RUNS:
        main(shortened(["train", "--env", "CartPole-v1", "--export", "--eval-every", "600", "--run-dir", RUNS[page]]))
    for words in commands(page):
        main(shortened(words))


def test_every_page_with_commands_is_run():
    pages = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    assert {page for page in pages if commands(page)} == {*PAGES}
