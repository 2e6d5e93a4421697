"""The notebooks run from top to bottom, and are stored with their outputs."""

import contextlib
import importlib.util
import io
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
spec = importlib.util.spec_from_file_location("execute", ROOT / "docs" / "notebooks" / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)
# Jupyter warns about transports that are not encrypted, and asyncio about deprecations.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(jupyter|zmq|nbclient|asyncio)")


def outputs(notebook):
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def kinds(notebook):
    """For each cell with code, what its outputs are, in order: text or figures."""
    return [
        ["figure" if "image/png" in output.get("data", {}) else output.get("name") for output in cell["outputs"]]
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def check_what_is_printed(name, text):
    if name == "first_run":
        assert float(text.partition("'mean_return': ")[2].partition(",")[0]) > 300
    elif name == "own_environment":
        assert int(text.partition("successes: ")[2].split()[0]) >= 8
    else:
        assert "ACCEPTED" in text


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["first_run", "own_environment", "trust_region_step"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_its_outputs_and_small(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 250_000
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert sum("image/png" in output.get("data", {}) for output in outputs(stored)) >= 2
    assert all(output.get("name") != "stderr" for output in outputs(stored))
    assert str(ROOT) not in path.read_text(encoding="utf-8")


@pytest.fixture
def run_cells(tmp_path, monkeypatch):
    """run_cells(notebook): run its cells in this process without XLA; give the kinds of their outputs and the text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tf_trpo.learning.learner.xla_is_fast", lambda *models: False)
    plt.switch_backend("agg")

    def run(notebook):
        names, found, text = {"__name__": "__main__"}, [], ""
        for cell in notebook["cells"]:
            if cell["cell_type"] != "code":
                continue
            made = []

            def show(made=made):
                made.extend(["figure"] * len(plt.get_fignums()))
                plt.close("all")

            monkeypatch.setattr(plt, "show", show)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec("".join(cell["source"]), names)
            assert not plt.get_fignums(), "figures that are not shown"
            found.append(sorted(made + ["stdout"] * bool(printed.getvalue())))
            text += printed.getvalue()
        return found, text

    return run


# docs/start.md runs the same code as the first notebook.
@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_its_cells_print_and_show_what_is_stored(path, run_cells):
    stored = json.loads(path.read_text(encoding="utf-8"))
    found, text = run_cells(stored)
    assert found == [sorted(cell) for cell in kinds(stored)]
    check_what_is_printed(path.stem, text)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path):
    done = execute.executed(path, tmp_path)
    assert kinds(done) == kinds(json.loads(path.read_text(encoding="utf-8")))
    check_what_is_printed(path.stem, "".join("".join(output.get("text", "")) for output in outputs(done)))


def test_a_notebook_is_executed_in_a_folder_with_the_code_of_this_checkout(tmp_path):
    made = nbformat.v4.new_notebook()
    made.cells = [
        nbformat.v4.new_code_cell(text)
        for text in (
            "import importlib.util, os, sys\nprint('a message', file=sys.stderr)\nfolder = os.getcwd()",
            "print(folder, importlib.util.find_spec('tf_trpo').origin)",
        )
    ]
    nbformat.write(made, tmp_path / "made.ipynb")
    done = execute.executed(tmp_path / "made.ipynb", tmp_path)
    assert kinds(done) == [[], ["stdout"]]
    assert outputs(done)[0]["text"].split() == [str(tmp_path), str(ROOT / "tf_trpo" / "__init__.py")]
    assert all(not cell.metadata for cell in done.cells)
