"""Execute the notebooks of this folder and store their outputs: `make notebooks`."""

from __future__ import annotations

import os
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
}
"""Variables of the kernel: the code of this checkout, figures as outputs, films without a screen, and few messages."""


def executed(path: Path, folder: str | os.PathLike[str]) -> nbformat.NotebookNode:
    """Execute a notebook in a folder and give the notebook with its outputs, without log messages.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": os.fspath(folder)}}
    )
    client.execute(env={**os.environ, **ENVIRONMENT})
    for cell in notebook.cells:
        # Times would change the file at each execution.
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        print(path.name, file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, folder), path)
