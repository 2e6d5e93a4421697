"""Search spaces: the values that the searched settings of an experiment may take."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from tf_trpo.experiment import Experiment
from tf_trpo.experiment.conversion import convert, leaves, unknown_names
from tf_trpo.experiment.settings import IMMATERIAL, OF_OUTPUT
from tf_trpo.files import parsed_yaml, read_small
from tf_trpo.ranges import require

OF_RUNS = OF_OUTPUT | {"seed", "threads", "jit_compile", "eval_episodes", "max_episode_steps"}
"""Settings of a single run, which are not part of a preset."""
NOT_SEARCHED = IMMATERIAL | {
    *("env", "env_kwargs", "wrapper", "info_keys", "action_masks", "algorithm", "radius", "total_steps"),
    *("schedule_steps", "seed", "backend", "shards", "update_parts", "costs", "cost_limits", "anchor", "anchor_kl"),
}
"""Settings that determine the task, or change no result, so that their values cannot be compared by returns."""
INSTEAD_OF_NONE: Mapping[str, Any] = MappingProxyType({"value_learning_rate": 0.001})
"""Values equivalent to None, for settings whose range cannot contain None."""
_SPREAD: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("max_kl", "natural_max_kl", "target_kl"), 5.0),
        **dict.fromkeys(("vanilla_learning_rate", "natural_learning_rate", "ppo_learning_rate"), 10.0),
        **dict.fromkeys(("penalty_coefficient", "penalty_learning_rate", "cg_damping", "value_learning_rate"), 10.0),
        "initial_std": 3.0,
    }
)
"""Positive settings of the default space -> the largest factor by which they change."""


@dataclasses.dataclass(frozen=True)
class Range:
    """All numbers from low to high.

    Args:
      low: the smallest value; an integer if the setting is an integer.
      high: the largest value, > low.
      log: search on a logarithmic scale; needs low > 0.

    Raises:
      ValueError: low and high are not finite numbers in this order, or low <= 0 with log.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            is_real = isinstance(value, int | float) and not isinstance(value, bool)
            require(is_real and math.isfinite(value), name, "a finite number", value)
        require(self.low < self.high, "high", f"larger than low, {self.low}", self.high)
        require(isinstance(self.log, bool), "log", "true or false", self.log)
        require(self.low > 0 or not self.log, "low", "positive if log is true", self.low)

    def contains(self, value: Any) -> bool:
        """Return whether a value lies in the range."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values.

    Args:
      values: at least two distinct values; a list, such as of hidden sizes, becomes a tuple.

    Raises:
      ValueError: there are fewer than two values, or two are equal.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        values = tuple(tuple(value) if isinstance(value, list) else value for value in self.values)
        object.__setattr__(self, "values", values)
        require(len(values) >= 2, "a choice", "between two values or more", values)
        # In Python, True equals 1.
        distinct = {(type(value).__name__, value) for value in values}
        require(len(distinct) == len(values), "a choice", "between different values", values)

    def contains(self, value: Any) -> bool:
        """Return whether a value is one of the choices."""
        return value in self.values


SearchSpace = Mapping[str, Range | Choice]
"""Name of a setting -> the values that are searched."""


def default_space(experiment: Experiment, fixed: Collection[str] = ()) -> dict[str, Range | Choice]:
    """Make the default search space of an experiment: the settings on which learning most often depends.

    Ranges are centred at the experiment's own values, so that the search starts from those of a preset.

    Args:
      experiment: the settings from which the search starts, after `tf_trpo.tuning.search.written_out`.
      fixed: settings to leave out.

    Returns:
      A space of the size of a step, its damping, the discount, lambda, the number of samples, and the fit of the value
      function; also the initial standard deviation, unless it is None. Settings without effect and values that the
      other settings exclude are left out: for example, num_steps must be a multiple of segment_length.
    """
    found = experiment.flat()
    space: dict[str, Range | Choice] = {}
    searched = found.keys() - _idle(found)
    for name in (name for name in _SPREAD if name in searched):
        low, high = _ends(name, found)
        if low < high:
            space[name] = Range(low, high, log=True)
    gammas, lambdas, steps = (0.95, 0.97, 0.98, 0.99, 0.995, 0.999), (0.8, 0.9, 0.95, 0.98, 1.0), found["num_steps"]
    space["gamma"] = Choice(tuple(sorted({*gammas, found["gamma"]})))
    space["gae_lambda"] = Choice(tuple(sorted({*lambdas, found["gae_lambda"]})))
    lengths = {max(steps // 4, 1), max(steps // 2, 1), steps, 2 * steps, 4 * steps}
    allowed = sorted(length for length in lengths if _is_allowed(experiment, num_steps=length))
    if len(allowed) > 1:
        space["num_steps"] = Choice(tuple(allowed))
    epochs = found["value_epochs"]
    if epochs:
        most = max(factor for factor in (1, 2, 3, 4) if _is_allowed(experiment, value_epochs=epochs * factor))
        if most > 1:
            space["value_epochs"] = Range(max(epochs // 4, 1), epochs * most, log=True)
    return {name: values for name, values in space.items() if name not in fixed}


def _idle(found: Mapping[str, Any]) -> set[str]:
    """Return the settings without effect, given the others; also a penalty that adapts, which is only the first one."""
    is_idle = {
        "natural_max_kl": found.get("natural_learning_rate") is not None,
        "target_kl": found.get("penalty") != "adaptive",
        "penalty_coefficient": found.get("penalty") != "fixed",
        "penalty_learning_rate": found.get("penalty_solver") != "first-order",
        "cg_damping": found.get("penalty_solver") == "first-order",
        "value_learning_rate": not found["value_epochs"],
    }
    return {name for name, idle in is_idle.items() if idle}


def _ends(name: str, found: Mapping[str, Any]) -> tuple[float, float]:
    """Return the smallest and the largest value of a setting of the default space; both are 0 if it has no value."""
    value = (INSTEAD_OF_NONE.get(name) if found[name] is None else found[name]) or 0.0
    # Rounded, so that 0.3 / 3 is shown as 0.1.
    low, high = (float(f"{end:.3g}") for end in (value / _SPREAD[name], value * _SPREAD[name]))
    if name == "max_kl" and found.get("radius") == "adaptive":
        low, high = max(low, found["min_radius"]), min(high, found["max_radius"])
    return low, high


def _is_allowed(experiment: Experiment, **changes: Any) -> bool:
    try:
        experiment.replace(**changes)
    except ValueError:
        return False
    return True


def check_space(space: SearchSpace, experiment: Experiment) -> None:
    """Raise ValueError unless all settings of a space can be searched and their values are allowed.

    Every choice and every end of a range is tried alone. Values that are only refused in combination make a trial fail.
    """
    require(bool(space), "the search space", "of at least one setting", dict(space))
    known = leaves(Experiment)
    for name, values in space.items():
        if name not in known:
            raise ValueError(f"the search space has unknown settings: {unknown_names([name], experiment.flat())}")
        if name in NOT_SEARCHED:
            raise ValueError(f"{name} cannot be searched: it decides what the returns mean, or changes none")
        if isinstance(values, Range) and not is_number(name):
            raise ValueError(f"{name} is not a number: give a list of its values")
        for value in values.values if isinstance(values, Choice) else (values.low, values.high):
            experiment.replace(**{name: value})


def values_in(space: SearchSpace, experiment: Experiment) -> dict[str, Any]:
    """Return the experiment's values, or equivalent ones, of the settings of a space, if they lie in the space.

    Args:
      space: the search space.
      experiment: an experiment whose algorithm has all settings of the space.
    """
    found, inside = experiment.flat(), {}
    for name, values in space.items():
        value = found[name]
        if value is None and not values.contains(None):
            value = INSTEAD_OF_NONE.get(name)
        if values.contains(value):
            inside[name] = value
    return inside


def read_space(path: str | Path) -> dict[str, Range | Choice]:
    """Read a search space from a YAML file.

    Args:
      path: file with lines such as `max_kl: {low: 0.003, high: 0.1, log: true}` and `num_steps: [128, 256, 512]`.

    Raises:
      ValueError: the file cannot be read or has another form; the message names the file and the setting.
    """
    where = f"search space {path}"
    try:
        text = read_small(Path(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parsed_space(parsed_yaml(text, where), where)


def parsed_space(found: Any, where: str) -> dict[str, Range | Choice]:
    """Make a search space from the mapping in a file; `where` is the prefix of error messages."""
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{where} must hold lines of the form `name: [values]` or `name: {{low: , high: , log: }}`")
    space: dict[str, Range | Choice] = {}
    for name, values in found.items():
        try:
            space[name] = _parsed(name, values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}, {name}: {error}") from None
    return space


def plain_space(space: SearchSpace) -> dict[str, Any]:
    """Convert a search space to lists and numbers for YAML and JSON: inverts `parsed_space`."""
    return {
        name: dataclasses.asdict(values)
        if isinstance(values, Range)
        else [list(value) if isinstance(value, tuple) else value for value in values.values]
        for name, values in space.items()
    }


def is_number(name: str) -> bool:
    """Return whether a setting is a number."""
    hint = leaves(Experiment).get(name)
    return bool({int, float} & {hint, *get_args(hint)})


def is_whole(name: str) -> bool:
    """Return whether a setting is an integer."""
    hint = leaves(Experiment).get(name)
    return int in {hint, *get_args(hint)}


def _parsed(name: str, values: Any) -> Range | Choice:
    """Make the values of one setting; text such as 1e-3, which is not a number in YAML, is converted to its type."""
    hint = leaves(Experiment).get(name, Any)
    if isinstance(values, list):
        return Choice(tuple(convert(value, hint, name) for value in values))
    if isinstance(values, dict):
        unknown = values.keys() - {"low", "high", "log"}
        require(not unknown and {"low", "high"} <= values.keys(), "a range", "given by low, high and log", values)
        ends = {end: convert(values[end], hint, name) if is_number(name) else values[end] for end in ("low", "high")}
        return Range(**{**values, **ends})
    raise ValueError(f"it must be a list of values, or a range with low and high, got {values!r}")
