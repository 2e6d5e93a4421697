"""Execute the notebooks of this folder and store their outputs: `make notebooks`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
ENVIRONMENT = {
    "PYTHONPATH": str(FOLDER.parents[1]),
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "SDL_VIDEODRIVER": "dummy",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TENSORBOARD_BINARY": str(Path(sys.executable).with_name("tensorboard")),
}
"""Variables of the kernel: the code of this checkout, figures as outputs, films without a screen, and few messages."""


def executed(path: Path, folder: str | os.PathLike[str]) -> nbformat.NotebookNode:
    """Execute a notebook in a folder and give the notebook with its outputs, without log messages and TensorBoard.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": os.fspath(folder)}}
    )
    try:
        client.execute(env={**os.environ, **ENVIRONMENT, "TMPDIR": os.fspath(folder)})
    finally:
        _stop_tensorboard(Path(folder))
    for cell in notebook.cells:
        # Times would change the file at each execution.
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            # The window on a server that has stopped would stay empty.
            cell.outputs = [output for output in cell.outputs if "tensorboard-frame" not in str(output)]
    return notebook


def _stop_tensorboard(folder: Path) -> None:
    """Stop the servers that a notebook started; they outlive its kernel."""
    for path in (folder / ".tensorboard-info").glob("pid-*.info"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(path.read_text(encoding="utf-8"))["pid"], signal.SIGTERM)


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        print(path.name, file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, folder), path)
