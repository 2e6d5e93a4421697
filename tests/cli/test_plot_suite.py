"""`plot --suite`: a suite's tables as a figure beside others', and what is refused in one line."""

import shutil
from pathlib import Path

import matplotlib.image
import pytest

from tf_trpo.cli import main

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RESULTS / "peers", tmp_path / "peers")
    return tmp_path


@pytest.mark.parametrize("options", [[], ["--peers", "peers", "--statistic", "mean"]])
def test_a_picture_is_written(options, capsys):
    main(["plot", "--suite", str(RESULTS / "algorithms"), *options, "--output", "new/curves.png"])
    assert capsys.readouterr().out == "new/curves.png\n"
    assert min(matplotlib.image.imread("new/curves.png").shape[:2]) > 400


REFUSED = {
    "no suite": (["--suite", "nowhere"], "nowhere/curves.csv cannot be read: No such file"),
    "no peers": (["--suite", "peers", "--peers", "nowhere"], "nowhere/curves.csv cannot be read: No such file"),
    "no results": (["--suite", "third"], "third/results.csv cannot be read: No such file"),
    "no published": (["--suite", "peers", "--peers", "half"], "half/published.csv cannot be read: No such file"),
    "empty": (["--suite", "empty"], "empty/curves.csv has no rows"),
    "no table": (["--suite", "broken"], "broken/curves.csv is no table with the columns env, name, seed"),
    "runs": (["run", "--suite", "peers"], "run_dirs cannot be given with suite"),
    "options": (["--suite", "peers", "--x", "seconds", "--report", "a.html"], "x, report cannot be given with suite"),
    "peers alone": (["run", "--peers", "peers"], "peers are drawn beside a suite"),
    "ending": (["--suite", "peers", "--output", "curves.pdf"], "curves.pdf must end in .png or .svg"),
    "output": (["--suite", "peers", "--output", "file/curves.png"], "file/curves.png cannot be written"),
    "nothing": ([], "plot needs the folder of a run, or of several, or that of a suite's tables by --suite"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line(workplace, refused, arguments, words):
    (workplace / "file").write_text("")
    for name in ("third", "half", "empty", "broken"):
        (workplace / name).mkdir()
    for copy, files in {"third": ["curves.csv"], "half": ["curves.csv", "results.csv"]}.items():
        for file in files:
            shutil.copy(workplace / "peers" / file, workplace / copy)
    header = (workplace / "peers" / "curves.csv").read_text().splitlines(keepends=True)[0]
    (workplace / "empty" / "curves.csv").write_text(header)
    (workplace / "broken" / "curves.csv").write_text("a,b\n")
    before = set(workplace.rglob("*"))
    assert words in refused("plot", *arguments)
    assert set(workplace.rglob("*")) == before
