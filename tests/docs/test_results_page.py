"""Pages with results: their tables are those of the repository, and results of others are complete."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare import Compare
from benchmarks.documents import FOLDERS, refreshed, with_tables
from benchmarks.report import markdown
from benchmarks.runs import suites
from benchmarks.tables import CurvePoint, PublishedResult, RunResult, by_settings, read_table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PEERS = RESULTS / "peers"
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
PAGES = with_tables(ROOT)
SUITES = sorted(path.parent.name for folder in FOLDERS for path in (ROOT / folder).glob("*/results.csv"))
SUITES.remove(PEERS.name)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_tables_of_a_page_are_those_of_the_repository(path, monkeypatch):
    """If this fails: python -m benchmarks results."""
    monkeypatch.chdir(ROOT)
    text = path.read_text(encoding="utf-8")
    assert refreshed(text) == text


def test_the_comparison_with_other_programs_is_that_of_the_repository(monkeypatch):
    """If this fails: copy the tables that `python -m benchmarks compare` prints."""
    monkeypatch.chdir(ROOT)
    for _, rows in Compare().tables():
        assert "\n".join(markdown(rows)) in PAGE


def test_every_suite_with_results_has_its_table_on_one_page():
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES if path.name != "README.md")
    assert sorted(re.findall(r"^<!-- results: (\S+)(?: costs)? -->$", text, re.M)) == SUITES


def test_every_bundled_suite_is_on_the_page():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.M)) == set(suites())


def test_the_example_makes_the_curves_from_logs_of_episodes(run_examples, tmp_path):
    (tmp_path / "episodes").mkdir()
    ends = np.arange(500, 1_001_472, 500)
    rows = [f"{end},{end / 1000},500" for end in ends]
    for seed in (3, 4):
        log = tmp_path / "episodes" / f"Some-v1-s{seed}.csv"
        log.write_text("\n".join(["timesteps,episode_return,episode_length", *rows]) + "\n")
    run_examples((PEERS / "README.md").read_text(encoding="utf-8"))
    curves = by_settings(read_table(tmp_path / "curves.csv", CurvePoint))
    assert list(curves) == [("Some-v1", "sb3-contrib")]
    points = curves["Some-v1", "sb3-contrib"]
    assert [point.seed for point in points] == [3] * 40 + [4] * 40
    # The last 100 episodes are 50,000 steps, whose mean return is that in the middle.
    assert points[20].mean_return == pytest.approx(points[20].steps / 1000 - 12.5 - 25, abs=2)


def test_results_and_curves_of_others_are_of_the_same_runs():
    results = by_settings(read_table(PEERS / "results.csv", RunResult))
    curves = by_settings(read_table(PEERS / "curves.csv", CurvePoint))
    assert list(results) == list(curves)
    for key, runs in results.items():
        assert [run.seed for run in runs] == sorted({point.seed for point in curves[key]})
        for run in runs:
            last = [point for point in curves[key] if point.seed == run.seed][-1]
            assert last.steps == run.steps == 1_000_000
            # Both have sampled actions: the latest training episodes, and the evaluation after training.
            assert last.mean_return == pytest.approx(run.stochastic, rel=0.4, abs=20)


def test_what_is_published_is_named_with_its_source():
    rows = read_table(PEERS / "published.csv", PublishedResult)
    assert len(rows) > 40
    assert len({row[:8] for row in rows}) == len(rows)
    page = (PEERS / "README.md").read_text(encoding="utf-8")
    assert all(row.source.removesuffix(" docs") in page for row in rows)
    assert {row.algorithm for row in rows} == {"TRPO", "PPO"}
    assert {row.point for row in rows} == {"best", "last", ""}


def test_the_data_are_small():
    assert sum(path.stat().st_size for path in PEERS.iterdir()) < 100_000
