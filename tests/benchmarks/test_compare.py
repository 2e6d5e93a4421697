"""`compare` and `ranges` on small tables."""

from pathlib import Path

import pytest

from benchmarks.compare import Compare, Ranges
from benchmarks.tables import Range, RunResult, read_table, write_table


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results/few").mkdir(parents=True)


def rows(name, env, returns, steps=100):
    return [RunResult(env, name, seed, steps, value, 0.0, 0.0, 0.0, 2, 1.0, "") for seed, value in enumerate(returns)]


def compare():
    Compare("few", results_dir=Path("results"), ranges=Path("ranges.csv")).run()


def test_tasks_with_a_range_are_compared(capsys):
    ours = [*rows("default", "A-v0", [10.0, 8.0]), *rows("default", "B-v0", [5.0]), *rows("default", "C-v0", [1.0])]
    write_table(Path("results/few/results.csv"), [*ours, *rows("other", "A-v0", [99.0])])
    others = [*rows("peer", "A-v0", [4.0, 6.0]), *rows("peer", "C-v0", [3.0]), *rows("single", "A-v0", [9.0])]
    write_table(Path("results/few/peers.csv"), others)
    ranges = [Range("A-v0", 0.0, 10.0), Range("B-v0", 0.0, 10.0), Range("C-v0", 0.0, float("nan"))]
    write_table(Path("ranges.csv"), ranges)
    compare()
    said = capsys.readouterr().out
    assert "| A-v0 | 0 | 10 | 9 | 5 | 9 |" in said
    # No peer has been trained on B.
    assert "B-v0" not in said
    assert "C-v0" not in said
    # One task has rows of both.
    assert "| peer | 1 | 0.900 [0.800, 1.000] | 0.500 [0.400, 0.600] | 1.000 [1.000, 1.000] |" in said
    # One seed has no interval.
    assert "| single | 1 | 0.900 [0.800, 1.000] | 0.900 | 0.500 |" in said
    assert Path("results/few-profile.png").read_bytes().startswith(b"\x89PNG")


def test_a_suite_with_nothing_to_compare_is_refused():
    write_table(Path("results/few/results.csv"), rows("default", "A-v0", [1.0]))
    write_table(Path("results/few/peers.csv"), rows("peer", "A-v0", [1.0], steps=7))
    write_table(Path("ranges.csv"), [Range("A-v0", 0.0, 10.0)])
    with pytest.raises(ValueError, match="A-v0: peer was trained for another number of steps than default"):
        compare()
    write_table(Path("results/few/peers.csv"), rows("peer", "B-v0", [1.0]))
    with pytest.raises(ValueError, match="few has no task with a range, results of default and results of a peer"):
        compare()


def test_the_returns_of_random_actions_are_measured_and_the_best_returns_are_kept():
    suite = "CartPole-v1: {a: {}}\nFrozenLake-v1: {a: {env_kwargs: {is_slippery: false}}}"
    Path("few.yaml").write_text(suite)
    path = Path("ranges.csv")
    write_table(path, [Range("CartPole-v1", 0.0, 500.0), Range("Other-v0", 1.0, 2.0)])
    Ranges("few.yaml", episodes=30, ranges=path).run()
    found = {row.env: row for row in read_table(path, Range)}
    assert found["Other-v0"] == ("Other-v0", 1.0, 2.0)
    assert 17 < found["CartPole-v1"].random < 28
    assert found["CartPole-v1"].best == 500.0
    assert 0.0 <= found["FrozenLake-v1"].random < 0.2
