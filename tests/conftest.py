"""What tests of documents share."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run_examples(tmp_path):
    """run_examples(Markdown): its Python examples, and what they print, run in their order in an empty folder."""

    def run(text):
        examples = re.findall(r"```python\n(.*?)```", text, re.S)
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(examples)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        return examples, done.stdout

    return run
