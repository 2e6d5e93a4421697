"""Tables of results: statistics against NumPy and SciPy, and documents that are rewritten between their marks only."""

import numpy as np
import pytest
from scipy import stats
from tf_trpo.results import RunResult, Target, write_table

from tf_trpo.cli import main

RETURNS = {0: (1.0, 10.0), 1: (2.0, 20.0), 2: (6.0, 60.0), 3: (100.0, -1000.0)}


def run(env, name, seed, deterministic, stochastic, steps=300_000):
    return RunResult(env, name, seed, steps, deterministic, 0.0, stochastic, 0.0, 20, 1.0, "")


@pytest.fixture(autouse=True)
def tables(tmp_path, monkeypatch):
    """Folder of results: two suites, and a peer."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs" / "results"
    for name in ("s", "t", "peers"):
        (folder / name).mkdir(parents=True)
    rows = [run("E-v1", "a", seed, *RETURNS[seed]) for seed in RETURNS]
    rows += [run("B-v0", "a", 0, -0.04, 0.04, 2_500_000), run("B-v0", "b", 0, 7.25, 99.96, 2_500_000)]
    write_table(folder / "s" / "results.csv", rows)
    write_table(folder / "t" / "results.csv", [run("E-v1", "other", 0, 5.0, 6.0)])
    write_table(folder / "peers" / "results.csv", [run("E-v1", "peer", seed, 3.0 + seed, 4.0) for seed in (0, 1)])
    return folder


def table(capsys, *options):
    main(["benchmark", "results", *options])
    header, rule, *rows = capsys.readouterr().out.splitlines()
    names = header.strip("| ").split(" | ")
    assert rule == "|" + "---|" * len(names)
    return [dict(zip(names, row.removeprefix("| ").removesuffix(" |").split(" | "), strict=True)) for row in rows]


def test_a_row_has_the_statistics_over_seeds(capsys):
    rows = table(capsys, "--suite", "s")
    assert [(row["environment"], row["settings"], row["steps"], row["seeds"]) for row in rows] == [
        ("B-v0", "a", "2.5M", "1"),
        ("B-v0", "b", "2.5M", "1"),
        ("E-v1", "a", "300k", "4"),
    ]
    deterministic = np.array([values[0] for values in RETURNS.values()])
    assert rows[2]["deterministic: mean ± std"] == f"{deterministic.mean():.1f} ± {deterministic.std():.1f}"
    middle = stats.trim_mean(deterministic, 0.25)
    assert middle == 4.0
    estimate, low, high = rows[2]["deterministic: IQM [95%]"].replace("[", "").rstrip("]").replace(",", "").split()
    assert float(estimate) == middle
    assert float(low) <= middle <= float(high)
    assert float(low) < float(high)
    assert (rows[2]["deterministic: min"], rows[2]["stochastic: min"]) == ("1.0", "-1000")
    assert rows[2]["stochastic: mean ± std"] == "-228 ± 446"


def test_numbers_beside_each_other_have_as_many_decimals_and_zero_has_no_sign(capsys):
    first, second, _ = table(capsys, "--suite", "s")
    assert first["deterministic: mean ± std"] == "0.0 ± 0.0"
    assert second["deterministic: min"] == "7.2"
    assert second["stochastic: IQM [95%]"] == "100 [100, 100]"


def test_others_stand_beside_runs_of_the_same_environment_and_length_only(capsys, tables):
    rows = table(capsys, "--suite", "s")
    assert [row["peer: deterministic / stochastic (seeds)"] for row in rows] == ["", "", "3.5 / 4.0 (2)"]
    write_table(tables / "peers" / "results.csv", [run("E-v1", "peer", 0, 3.0, 4.0, 1_000_000)])
    assert not any(name.startswith("peer") for row in table(capsys, "--suite", "s") for name in row)
    (tables / "peers").rename(tables.parent / "elsewhere")
    assert not any(name.startswith("peer") for row in table(capsys, "--suite", "s") for name in row)
    write_table(tables.parent / "elsewhere" / "results.csv", [run("E-v1", "peer", 0, 300.0, 4.0)])
    (row,) = table(capsys, "--suite", "t", "--peers", "docs/elsewhere")
    assert row["peer: deterministic / stochastic (seeds)"] == "300 / 4 (1)"


def test_targets_have_a_column_where_there_are_any(capsys, tables):
    write_table(tables / "s" / "targets.csv", [Target("E-v1", 2.5)])
    assert [row["target"] for row in table(capsys, "--suite", "s")] == ["", "", "2.5"]


def test_a_crossed_table_has_a_column_for_each_environment(capsys):
    assert table(capsys, "--suite", "some/where/s.yaml", "--layout", "crossed") == [
        {"settings": "a", "B-v0, 2.5M steps": "0.0 ± 0.0 / 0.0 ± 0.0", "E-v1, 300k steps": "27.2 ± 42.0 / -228 ± 446"},
        {"settings": "b", "B-v0, 2.5M steps": "7.2 ± 0.0 / 100 ± 0", "E-v1, 300k steps": ""},
    ]


DOCUMENT = """before: `<!-- results: t -->` and <!-- end of results --> are no lines of their own

<!-- results: s -->
old
<!-- end of results -->
between
<!-- results: s crossed -->
<!-- end of results -->
<!-- results: t -->
of t
<!-- end of results -->

after"""


def test_a_document_is_rewritten_between_its_marks_only(capsys, tmp_path):
    printed = {}
    for options in (("s",), ("s", "--layout", "crossed"), ("t",)):
        main(["benchmark", "results", "--suite", *options])
        printed[options] = capsys.readouterr().out.strip()
    (tmp_path / "page.md").write_text(DOCUMENT, encoding="utf-8")
    main(["benchmark", "results", "--suite", "t", "--into", "page.md"])
    of_t = f"<!-- results: t -->\n\n{printed['t',]}\n\n<!-- end of results -->"
    only_t = DOCUMENT.replace("<!-- results: t -->\nof t\n<!-- end of results -->", of_t)
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == only_t
    for _ in range(2):
        main(["benchmark", "results", "--into", "page.md"])
        text = (tmp_path / "page.md").read_text(encoding="utf-8")
        assert text == only_t.replace("\nold\n", f"\n\n{printed['s',]}\n\n").replace(
            "<!-- results: s crossed -->\n", f"<!-- results: s crossed -->\n\n{printed['s', '--layout', 'crossed']}\n\n"
        )
    assert capsys.readouterr().out == "page.md\n" * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "page.md"]


REFUSED = {
    "nothing": ([], "results needs the name of a suite by --suite, or documents by --into"),
    "no suite": (["--suite", "ablations"], "docs/results/ablations/results.csv cannot be read: No such file"),
    "no peers": (["--suite", "s", "--peers", "nowhere"], "nowhere/results.csv cannot be read: No such file"),
    "empty": (["--suite", "empty"], "docs/results/empty/results.csv has no runs"),
    "no table": (["--suite", "broken"], "docs/results/broken/results.csv is no table with the columns env"),
    "no document": (["--into", "nowhere.md"], "nowhere.md cannot be rewritten: No such file"),
    "no mark": (["--into", "plain.md"], "plain.md has no line <!-- results: SUITE -->"),
    "no such mark": (["--into", "page.md", "--suite", "t"], "page.md has no line <!-- results: t -->"),
    "no end": (
        ["--into", "open.md"],
        "open.md: each line <!-- results: SUITE --> needs a line <!-- end of results -->",
    ),
    "no begin": (["--into", "close.md"], "close.md: each line <!-- results: SUITE --> needs"),
    "nested": (["--into", "nested.md"], "nested.md: each line <!-- results: SUITE --> needs"),
    "printed layout": (["--into", "page.md", "--layout", "crossed"], "layout is of a printed table; in a document it"),
    "layout": (["--into", "layout.md"], "layout.md: no layout wide; there are rows, crossed"),
    "missing suite": (["--into", "missing.md"], "docs/results/ablations/results.csv cannot be read"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_in_one_line_and_nothing_is_changed(refused, tmp_path, tables, arguments, words):
    end = "<!-- end of results -->\n"
    documents = {
        "page": f"<!-- results: s -->\n{end}",
        "plain": "text\n",
        "open": "<!-- results: s -->\ntext\n",
        "close": f"<!-- results: s -->\n{end}{end}",
        "nested": f"<!-- results: s -->\n<!-- results: t -->\n{end}",
        "layout": f"<!-- results: s wide -->\n{end}",
        "missing": f"<!-- results: ablations -->\n{end}",
    }
    for name, text in documents.items():
        (tmp_path / f"{name}.md").write_text(text)
    for name, lines in (("empty", 1), ("broken", 0)):
        (tables / name).mkdir()
        header = (tables / "s" / "results.csv").read_text().splitlines(keepends=True)[:lines]
        (tables / name / "results.csv").write_text("".join(header))
    assert words in refused("benchmark", "results", *arguments)
    assert {path.stem: path.read_text() for path in tmp_path.glob("*.md")} == documents
