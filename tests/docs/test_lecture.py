"""The page about the lecture: its examples run in order, and it names every figure and file."""

import re
from pathlib import Path

from examples.lecture.figures import FIGURES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lecture.md").read_text(encoding="utf-8")


def test_the_examples_run_in_their_order(run_examples):
    examples, output = run_examples(PAGE)
    assert len(examples) >= 8
    penalties = {name: float(kl) for name, kl in re.findall(r"(adaptive|theory) C: \S+ KL: (\S+)", output)}
    assert 0 < penalties["theory"] < 1e-5 < penalties["adaptive"]


def test_every_figure_is_shown():
    shown = set(re.findall(r"!\[[^\]]+\]\(figures/(\w+)\.png\)", PAGE))
    assert shown == {*(f"{number}_{name}" for number, name in FIGURES.items()), "6_learning_curves"}
    assert all((ROOT / "docs" / "figures" / f"{name}.png").is_file() for name in shown)


def test_every_file_of_the_lecture_is_on_the_page():
    """A new algorithm, theory module or toy problem must be added to the page."""
    on_page = set(re.findall(r"`(?:theory|optimizers|examples/lecture)/(\w+)\.py`", PAGE))
    helpers = {"__init__", "__main__", "policy_optimizer", "ranges", "steepest_descent"}
    for folder in ("tf_trpo/theory", "tf_trpo/optimizers", "examples/lecture"):
        files = {path.stem for path in (ROOT / folder).glob("*.py")}
        assert files - helpers <= on_page
