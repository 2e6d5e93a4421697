"""What a run is made with, apart from its settings: versions, machine and commit."""

from __future__ import annotations

import logging
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from tf_trpo.cores import available_cores, processor_name
from tf_trpo.experiment.imports import imported_modules
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.versions import installed_versions

if TYPE_CHECKING:
    from tf_trpo.experiment.experiment import Experiment

_logger = logging.getLogger("tf_trpo")
_PACKAGES = ("tf_trpo", "tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy", "ai-edge-litert")
_IF_INSTALLED = ("mujoco", "box2d", "dm-control", "shimmy", "ale-py", "envpool", "minigrid", "ray")
"""Packages on which the returns of some environments depend."""


def provenance(experiment: Experiment) -> dict[str, Any]:
    """Return everything that a run's bits depend on except its settings, as JSON.

    Returns:
      versions of Python and of packages, also of those that the modules of the environment, the wrappers and the costs
      belong to; platform, processor, gpus, threads, which is the number of TensorFlow's threads; and commit.
    """
    packages = {module.partition(".")[0] for module in _modules(experiment)} - {*_PACKAGES}
    # To search everything that is installed takes a third of a second, which most runs need not wait for.
    own = metadata.packages_distributions() if packages else {}
    used = {name for package in packages for name in own.get(package, ())}
    optional = installed_versions(sorted({*_IF_INSTALLED, *used} - {*_PACKAGES}))
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "versions": installed_versions(_PACKAGES) | {name: each for name, each in optional.items() if each},
        "platform": platform.platform(),
        "processor": processor_name(),
        "gpus": [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus],
        "threads": tf.config.threading.get_intra_op_parallelism_threads() or available_cores(),
        "commit": commit_of(Path(__file__).parents[1]),
    }


def earlier_parts(config: dict[str, Any], made_with: Mapping[str, Any], steps: int) -> list[Any]:
    """Return what the earlier parts of a resumed run were made with; warn if the next part is made with something else.

    Args:
      config: config.json as it was read.
      made_with: the result of `provenance` now.
      steps: environment steps taken so far.
    """
    before = {name: value for name, value in config.items() if name not in ("settings", "earlier")}
    old, new = ({**record["versions"], **record, "versions": None} for record in (before, made_with))
    changed = [
        f"{name} {old.get(name)!r:.100}, now {new.get(name)!r}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    if not (changed and steps):
        return list(config["earlier"])
    _logger.warning("the first %d steps of this run were made with %s", steps, "; ".join(changed))
    return [*config["earlier"], {**before, "until_step": steps}]


def _modules(experiment: Experiment) -> Iterator[str]:
    """Yield the names of the modules that an experiment's environment, wrappers and costs come from."""
    yield from imported_modules(experiment.env, experiment.environment).values()
    registered = gym.registry.get(experiment.env.rpartition(":")[2])
    if registered is not None:
        made = registered.entry_point
        yield made.partition(":")[0] if isinstance(made, str) else getattr(made, "__module__", "")


def commit_of(package: Path) -> str | None:
    """Return the git commit of a package's checkout, with "-dirty" if files of the package differ.

    Other files, such as documents and tables of results, may differ, because no run depends on them.

    Returns:
      The commit; None outside of a checkout, also in a virtual environment within the checkout of something else.
    """
    if not _git(package, "ls-files", "--", "."):
        return None
    commit, changes = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--", ".")
    if commit is None or changes is None:
        return None
    return f"{commit}-dirty" if changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of git in a folder; None if git is not installed or fails."""
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
