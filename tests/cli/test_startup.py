"""TensorFlow's start in a command."""

import subprocess
import sys

import pytest

from tf_trpo.cli.startup import _FOR_NOTEBOOKS, _as_if_missing


def test_keras_finds_no_packages_for_notebooks_and_an_environment_finds_them():
    code = (
        "import sys; from tf_trpo.cli.startup import start_keras; start_keras()\n"
        f"import tf_trpo.training.trpo; print({{*{_FOR_NOTEBOOKS}}} & sys.modules.keys())\n"
        "import matplotlib; print(matplotlib.is_interactive())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "set()\nFalse\n"


def test_packages_that_are_already_imported_are_not_hidden(importable):
    assert not importable("for_plots", "")()
    with _as_if_missing(["for_plots", "sys"]):
        with pytest.raises(ModuleNotFoundError):
            import for_plots
        assert __import__("sys") is sys
    import for_plots

    assert for_plots.__name__ == "for_plots"
