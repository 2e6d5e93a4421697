"""The command figures: what it writes, and what it refuses in one line."""

import importlib.util
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "figures.py"


def test_script_writes_the_figures_asked_for_and_names_them(tmp_path):
    folder = tmp_path / "new" / "figures"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--output-dir", folder, "--only", "5", "2"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    written = [Path(line) for line in done.stdout.splitlines()]
    assert sorted(written) == sorted(folder.iterdir())
    names = ["5_lower_bound.png", "5_lower_bound.svg", "2_taylor_approximation.png", "2_taylor_approximation.svg"]
    assert [path.name for path in written] == names


def test_number_that_is_none_of_the_figures_is_refused(tmp_path, refused):
    error = refused("figures", "--output-dir", str(tmp_path), "--only", "1", "99")
    assert error == "error: no figure 99; there are 1, 2, 3, 4, 5, 6"
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_is_one_line_with_the_way_out(tmp_path, refused, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    error = refused("figures", "--output-dir", str(tmp_path), "--only", "2")
    assert error == "error: drawing needs matplotlib: pip install 'tf_trpo[figures]'"


def test_folder_that_cannot_be_made_is_refused(tmp_path, refused):
    (tmp_path / "file").write_text("")
    error = refused("figures", "--output-dir", str(tmp_path / "file"), "--only", "2")
    assert error.startswith(f"error: {tmp_path / 'file'} cannot be written")


def test_results_that_are_missing_or_no_table_are_one_line_with_the_way_out(tmp_path, refused):
    arguments = ["--output-dir", str(tmp_path / "figures"), "--results-dir", str(tmp_path), "--only", "6"]
    table = tmp_path / "algorithms" / "curves.csv"
    error = refused("figures", *arguments)
    assert error.startswith(f"error: {table} cannot be read: No such file")
    assert "benchmark learn" in error
    table.parent.mkdir()
    table.write_text("a,b\n1,2\n")
    error = refused("figures", *arguments)
    assert error.startswith(f"error: {table} is no table with the columns env, name")
