"""Tables of results: statistics against NumPy and SciPy, and documents that are updated only between their marks."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.documents import Results, crossed, read_peers, refreshed, summary, table_of
from benchmarks.tables import CostResult, RunResult, read_table, write_table

RETURNS = {0: (1.0, 10.0), 1: (2.0, 20.0), 2: (6.0, 60.0), 3: (100.0, -1000.0)}


def run(env, name, seed, deterministic, stochastic, steps=300_000):
    return RunResult(env, name, seed, steps, deterministic, 0.0, stochastic, 0.0, 20, 1.0, "")


@pytest.fixture(autouse=True)
def tables(tmp_path, monkeypatch):
    """A folder of results of two suites and a peer."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs" / "results"
    for name in ("s", "t", "peers"):
        (folder / name).mkdir(parents=True)
    rows = [run("E-v1", "a", seed, *RETURNS[seed]) for seed in RETURNS]
    rows += [run("B-v0", "a", 0, -0.004, 0.004, 2_500_000), run("B-v0", "b", 0, 7.25, 99.96, 2_500_000)]
    write_table(folder / "s" / "results.csv", rows)
    write_table(folder / "t" / "results.csv", [run("E-v1", "other", 0, 5.0, 6.0)])
    write_table(folder / "peers" / "results.csv", [run("E-v1", "peer", seed, 3.0 + seed, 4.0) for seed in (0, 1)])
    return folder


def rows_of(suite):
    return summary(read_table(Path("docs") / "results" / suite / "results.csv", RunResult), read_peers())


def test_runs_of_different_lengths_have_no_common_row():
    runs = [run("E-v1", "a", 0, 1.0, 1.0), run("E-v1", "a", 1, 1.0, 1.0, 600_000)]
    assert [(row["steps"], row["seeds"]) for row in summary(runs)] == [("300k", "1"), ("600k", "1")]
    with pytest.raises(ValueError, match="E-v1, a has runs of 300000 and 600000 steps"):
        crossed(runs)


def test_a_row_has_the_statistics_over_seeds():
    rows = rows_of("s")
    found = [(row["environment"], row["settings"], row["steps"], row["seeds"]) for row in rows]
    assert found == [("B-v0", "a", "2.5M", "1"), ("B-v0", "b", "2.5M", "1"), ("E-v1", "a", "300k", "4")]
    deterministic = np.array([values[0] for values in RETURNS.values()])
    assert rows[2]["deterministic: mean ± std"] == f"{deterministic.mean():.1f} ± {deterministic.std(ddof=1):.1f}"
    middle = stats.trim_mean(deterministic, 0.25)
    estimate, low, high = rows[2]["deterministic: IQM [95%]"].replace("[", "").rstrip("]").replace(",", "").split()
    assert float(estimate) == middle
    assert float(low) <= middle <= float(high) != float(low)
    assert (rows[2]["deterministic: min"], rows[2]["stochastic: min"]) == ("1.00", "-1000")
    assert rows[2]["stochastic: mean ± std"] == "-228 ± 515"


def test_numbers_of_a_cell_have_equal_decimals_two_up_to_1_and_zero_has_no_sign():
    one, other = crossed(read_table(Path("docs/results/s/results.csv"), RunResult))
    assert (one["B-v0, 2.5M steps"], one["E-v1, 300k steps"]) == ("0.00 / 0.00", "27.2 ± 48.5 / -228 ± 515")
    assert (other["settings"], other["B-v0, 2.5M steps"]) == ("b", "7.2 / 100")
    assert rows_of("s")[1]["stochastic: IQM [95%]"] == "100"


def test_costs_stand_beside_returns(tables):
    costs = [("E-v1", "a", seed, 300_000, "speed", seed / 2, 10.0 * seed) for seed in (3, 0, 2, 1)]
    write_table(tables / "s" / "costs.csv", [CostResult(*row) for row in costs])
    assert table_of("s", "costs").splitlines() == [
        "| environment | settings | seeds | deterministic: mean ± std | deterministic: cost speed of each seed "
        "| stochastic: mean ± std | stochastic: cost speed of each seed |",
        "|---|---|---|---|---|---|---|",
        "| E-v1 | a | 4 | 27.2 ± 48.5 | 0.0, 0.5, 1.0, 1.5 | -228 ± 515 | 0.0, 10.0, 20.0, 30.0 |",
    ]
    begin, end = "<!-- results: s costs -->", "<!-- end of results -->"
    assert refreshed(f"{begin}\n{end}") == f"{begin}\n\n{table_of('s', 'costs')}\n\n{end}"


def test_peers_are_shown_only_with_runs_of_the_same_environment_and_steps(tables):
    rows = rows_of("s")
    assert [row.get("peer: deterministic / stochastic (seeds)") for row in rows] == [None, None, "3.5 / 4.0 (2)"]
    write_table(tables / "peers" / "results.csv", [run("E-v1", "peer", 0, 3.0, 4.0, 1_000_000)])
    assert not any(name.startswith("peer") for row in rows_of("s") for name in row)


def test_two_suites_stand_beside_each_other_with_the_environments_of_the_first():
    assert table_of("t", "beside s").splitlines() == [
        "| environment | t, 300k steps | s, 300k steps | peer, 300k steps |",
        "|---|---|---|---|",
        "| E-v1 | 5.0 / 6.0 (1) | 27.2 ± 48.5 / -228 ± 515 (4) | 3.5 ± 0.7 / 4.0 ± 0.0 (2) |",
    ]
    begin, end = "<!-- results: t beside s -->", "<!-- end of results -->"
    assert refreshed(f"{begin}\n{end}") == f"{begin}\n\n{table_of('t', 'beside s')}\n\n{end}"


def test_without_a_suite_every_document_with_tables_is_updated(tables, capsys):
    marks = "<!-- results: t -->\n{}<!-- end of results -->\n"
    paths = [Path("README.md"), Path("benchmarks/trials.md"), Path("docs/a/page.md")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(marks.format(""))
    Path("docs/other.md").write_text("`<!-- results: t -->`")
    Results(suite="t").run()
    assert capsys.readouterr().out == f"{table_of('t')}\n"
    Results().run()
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    assert {path.read_text() for path in paths} == {marks.format(f"\n{table_of('t')}\n\n")}


def test_a_document_is_changed_only_between_its_marks():
    text = "`<!-- results: t -->` is no line of its own\n<!-- results: s crossed -->\n{}<!-- end of results -->\n"
    text += "<!-- results: t -->\n{}<!-- end of results -->"
    expected = text.format(f"\n{table_of('s', 'crossed')}\n\n", f"\n{table_of('t')}\n\n")
    assert refreshed(text.format("old\n", "")) == refreshed(expected) == expected
    for text in ("text\n", "<!-- results: s -->\ntext\n"):
        with pytest.raises(ValueError, match="needs a line"):
            refreshed(text)
