"""Packages that only extras install, and the error if one is missing."""

from __future__ import annotations

EXTRAS = {
    **dict.fromkeys(("matplotlib", "jinja2", "tyro"), "figures"),
    **dict.fromkeys(("orjson", "uvicorn"), "serve"),
    **dict.fromkeys(("imageio", "pygame"), "play"),
    "envpool": "envpool",
    "minari": "demonstrations",
    "mujoco": "mujoco",
    "optuna": "tune",
    **dict.fromkeys(("psutil", "ray"), "ray"),
    "tensorflow_serving": "warmup",
    "tf2onnx": "onnx",
}
"""Module -> the extra that installs it."""


def not_installed(module: str) -> ImportError:
    """Return the error that says which extra installs a module of `EXTRAS`, and how."""
    extra = EXTRAS[module]
    message = f"{module} is not installed; it is in the extra {extra}: {installation(extra)}"
    return ImportError(message, name=module)


def installation(extra: str) -> str:
    """Return the command that installs an extra.

    tf_trpo is on no package index, so the command must not name it: an index could have a stranger's package of this
    name.
    """
    return f'pip install -e ".[{extra}]" in the folder of the checkout'
