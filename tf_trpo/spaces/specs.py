"""Specs of observations: nests of array specs, as Gymnasium's spaces are nests of spaces.

The other packages use nests and no observation spaces. A nest is a part, or a dict or a tuple of nests; `tf.nest`
visits the entries of a dict in the order of their names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

Kind = Literal["vector", "image", "one-hot", "binary", "mask"]
"""How a policy reads a part: numbers that are normalised, an image of bytes, choices that become one-hot vectors, bits,
or the action mask, which is not an input of the network."""


@dataclasses.dataclass(frozen=True)
class PartSpec:
    """One array of an observation.

    Attributes:
      shape: shape in one observation.
      dtype: NumPy dtype in the environment and in rollouts.
      kind: how a policy reads the part.
      sizes: for the kind "one-hot", the number of choices of each element.
      starts: for the kind "one-hot", the first choice of each element.
      high: for the kind "image", the highest byte, in [1, 255]; it becomes 1.0.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: Kind
    sizes: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    high: int = 255

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the network's input for this part."""
        return (sum(self.sizes),) if self.kind == "one-hot" else self.shape


Spec: TypeAlias = "PartSpec | dict[str, Spec] | tuple[Spec, ...]"


class WrongValueError(ValueError):
    """A value has the wrong type or shape. The message completes "... gave ...", whose subject the catcher adds."""


def as_spec(observations: Spec | Sequence[int]) -> Spec:
    """Convert the shape of an array to the spec of a float32 vector; return a spec unchanged."""
    if isinstance(observations, PartSpec | dict) or (observations and not isinstance(observations[0], int)):
        return observations  # type: ignore[return-value]
    return PartSpec(tuple(observations), "float32", "vector")  # type: ignore[arg-type]


def map_parts(function: Callable[..., Any], spec: Spec, *nests: Any) -> Any:
    """Apply a function to every part of a spec, together with the corresponding leaves of other nests.

    Raises:
      WrongValueError: a nest has another structure; the message names the place.
    """
    return _map(function, spec, nests, "")


def is_image(shape: tuple[int, ...], dtype: str) -> bool:
    """Return whether arrays are images: bytes with height, width and channels, large enough for a convolution."""
    return dtype == "uint8" and len(shape) == 3 and sorted(shape)[1] >= 5


def channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether an image's first axis is shorter than the others and so holds the channels, as in [4, 84, 84]."""
    return shape[0] < min(shape[1:])


def parts(nest: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, part) for all parts of a spec or another nest; a name is the path to the part, joined by "/".

    If the nest is a single part, its name is empty.
    """
    if not isinstance(nest, Mapping | tuple):
        yield "", nest
        return
    for name, below in sorted(nest.items()) if isinstance(nest, Mapping) else enumerate(nest):
        for path, part in parts(below):
            yield f"{name}/{path}" if path else str(name), part


def flatten_to(spec: Spec, nest: Any) -> list[Any]:
    """Flatten a nest of the spec's structure to a list, in the order of `parts`."""
    if isinstance(spec, PartSpec):
        # A fast path, since this is called at every step.
        return [nest]
    found: list[Any] = []
    map_parts(lambda _, value: found.append(value), spec, nest)
    return found


def nest_of(structure: Any, values: Iterable[Any]) -> Any:
    """Arrange values, in the order of `parts`, in the structure of a spec or another nest: inverts `flatten_to`."""
    waiting = iter(values)

    def nest(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: nest(part[name]) for name in sorted(part)}
        return tuple(map(nest, part)) if isinstance(part, tuple) else next(waiting)

    return nest(structure)


def difference(ours: Spec, theirs: Spec) -> tuple[str, str] | None:
    """Return descriptions of the first part in which two specs differ, one for each spec; None if they agree.

    The dtype of a vector does not matter.
    """
    here, there = dict(parts(ours)), dict(parts(theirs))
    for name in [*here, *(name for name in there if name not in here)]:
        one, other = (_described(name, found.get(name)) for found in (here, there))
        if one != other:
            return one, other
    return None


def _described(name: str, part: PartSpec | None) -> str:
    if part is None:
        return f"no {name or 'lone array'}"
    dtype = "" if part.kind == "vector" else f"{part.dtype} "
    choices = f" of {list(part.sizes)} choices from {list(part.starts)}" if part.kind == "one-hot" else ""
    bytes_below = f" of bytes up to {part.high}" if part.high < 255 else ""
    kind = {"image": "image ", "mask": "mask "}.get(part.kind, "")
    return f"{name + ': ' if name else ''}{dtype}{kind}array of shape {part.shape}{choices}{bytes_below}"


def without_masks(spec: Spec, nest: Any) -> Any:
    """Return a nest without the parts of kind "mask". If one entry of a dict is left, it replaces the dict."""
    if isinstance(spec, PartSpec):
        return nest
    if isinstance(spec, tuple):
        return tuple(without_masks(part, value) for part, value in zip(spec, nest, strict=True))
    kept = {name: without_masks(spec[name], nest[name]) for name in sorted(spec) if not _is_mask(spec[name])}
    return next(iter(kept.values())) if len(kept) == 1 < len(spec) else kept


def mask_of(spec: Spec, nest: Any) -> Any:
    """Return the entry of a nest for the part of kind "mask"; None if there is no such part."""
    if isinstance(spec, dict):
        for name in spec:
            if _is_mask(spec[name]):
                return nest[name]
    return None


def named(prefix: str, nest: Any) -> dict[str, Any]:
    """Return the parts of a nest by their names in an exported model: PREFIX for a single part, else PREFIX_PATH.

    Raises:
      ValueError: two parts would have the same name.
    """
    found: dict[str, Any] = {}
    for path, part in parts(nest):
        name = f"{prefix}_{re.sub('[^0-9A-Za-z]', '_', path)}" if path else prefix
        if name in found:
            raise ValueError(f"two parts would be exported as {name}: rename one")
        found[name] = part
    return found


def unnamed(prefix: str, structure: Any, values: Mapping[str, Any]) -> Any:
    """Arrange values by name in the structure of a nest, whose own values do not matter: inverts `named`."""
    return nest_of(structure, [values[name] for name in named(prefix, structure)])


def to_json(spec: Spec) -> dict[str, Any]:
    """Convert a spec to JSON values, with Gymnasium's names of spaces and their attributes."""
    if isinstance(spec, dict):
        return {"type": "Dict", "spaces": {name: to_json(part) for name, part in spec.items()}}
    if isinstance(spec, tuple):
        return {"type": "Tuple", "spaces": [to_json(part) for part in spec]}
    if spec.kind == "one-hot" and not spec.shape:
        return {"type": "Discrete", "n": spec.sizes[0], "start": spec.starts[0], "dtype": spec.dtype}
    own: dict[str, Any] = {"shape": list(spec.shape), "dtype": spec.dtype}
    if spec.high < 255:
        own["high"] = spec.high
    if spec.kind == "one-hot":
        return {"type": "MultiDiscrete", "nvec": list(spec.sizes), "start": list(spec.starts), **own}
    return {"type": "MultiBinary" if spec.kind in ("binary", "mask") else "Box", **own, "kind": spec.kind}


def from_json(description: Mapping[str, Any]) -> Spec:
    """Make a spec from the result of `to_json`."""
    kind = description["type"]
    if kind == "Dict":
        return {name: from_json(part) for name, part in description["spaces"].items()}
    if kind == "Tuple":
        return tuple(from_json(part) for part in description["spaces"])
    if kind == "Discrete":
        return PartSpec((), description["dtype"], "one-hot", (description["n"],), (description["start"],))
    own = tuple(description["shape"]), description["dtype"]
    if kind == "MultiDiscrete":
        return PartSpec(*own, "one-hot", tuple(description["nvec"]), tuple(description["start"]))
    return PartSpec(*own, description["kind"], high=description.get("high", 255))


def _is_mask(spec: Spec) -> bool:
    return isinstance(spec, PartSpec) and spec.kind == "mask"


def _map(function: Callable[..., Any], spec: Spec, nests: tuple[Any, ...], place: str) -> Any:
    if isinstance(spec, PartSpec):
        return function(spec, *nests)
    for nest in nests:
        check_structure(spec, nest, place)
    below = f"{place}/" if place else ""
    if isinstance(spec, dict):
        return {
            name: _map(function, spec[name], tuple(nest[name] for nest in nests), f"{below}{name}")
            for name in sorted(spec)
        }
    return tuple(_map(function, part, tuple(nest[i] for nest in nests), f"{below}{i}") for i, part in enumerate(spec))


def check_structure(spec: dict[str, Spec] | tuple[Spec, ...], nest: Any, place: str) -> None:
    """Raise WrongValueError unless a nest has the keys of a dict spec, or the length of a tuple spec.

    Args:
      spec: the dict or tuple.
      nest: the nest to check.
      place: path of the spec in the observation, for the message.
    """
    if isinstance(spec, dict):
        if isinstance(nest, Mapping) and nest.keys() == spec.keys():
            return
    elif isinstance(nest, tuple | list) and len(nest) == len(spec):
        return
    own = f"Dict of {', '.join(spec)}" if isinstance(spec, dict) else f"Tuple of {len(spec)}"
    where = f"{place} of the observation" if place else "an observation"
    raise WrongValueError(f"{kind_of(nest)} as {where}, its space is a {own}")


def kind_of(value: Any) -> str:
    """Describe the kind of a value, for error messages."""
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return "None" if value is None else f"a {type(value).__name__}{size}"
