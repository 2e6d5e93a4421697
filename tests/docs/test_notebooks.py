"""The notebooks run from top to bottom, and are stored with their outputs."""

import importlib.util
import json
from pathlib import Path

import pytest

pytest.importorskip("nbclient")
ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
spec = importlib.util.spec_from_file_location("execute", ROOT / "docs" / "notebooks" / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)
# Jupyter warns about transports that are not encrypted, and asyncio about deprecations.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(jupyter|zmq|nbclient|asyncio)")


def outputs(notebook):
    return [(cell, output) for cell in notebook["cells"] for output in cell.get("outputs", [])]


def printed(notebook):
    return "".join("".join(output.get("text", "")) for _, output in outputs(notebook))


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["first_run", "own_environment", "trust_region_step"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_its_outputs_and_small(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 250_000
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert sum("image/png" in output.get("data", {}) for _, output in outputs(stored)) >= 2
    assert all(output.get("name") != "stderr" for _, output in outputs(stored))
    assert str(ROOT) not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path",
    # docs/start.md runs the same code as the first notebook.
    [pytest.param(path, marks=[pytest.mark.slow] * (path.stem == "first_run")) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_it_runs(path, tmp_path):
    done = execute.executed(path, tmp_path)
    assert len(outputs(done)) == len(outputs(json.loads(path.read_text(encoding="utf-8"))))
    text = printed(done)
    if path.stem == "first_run":
        assert float(text.partition("'mean_return': ")[2].partition(",")[0]) > 300
    elif path.stem == "own_environment":
        assert int(text.partition("successes: ")[2].split()[0]) >= 8
    else:
        assert "ACCEPTED" in text
