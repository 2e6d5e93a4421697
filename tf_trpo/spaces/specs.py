"""What an observation is made of: a nest of array specs, as Gymnasium's spaces are nests of spaces.

The other parts of the package move nests and know no observation space. A nest is a part, or a dict or a tuple of
nests, as the environment gives it; `tf.nest` walks it in the order of sorted names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

Kind = Literal["vector", "image", "one-hot", "binary", "mask"]
"""How a policy reads a part: numbers, which are normalised; an image of bytes; numbers of choices; bits; or which
actions are allowed, which is no input of the network."""


@dataclasses.dataclass(frozen=True)
class PartSpec:
    """One array of an observation.

    Attributes:
      shape: of one observation.
      dtype: as the environment gives it, and as rollouts keep it.
      kind: how a policy reads it.
      sizes: for the kind "one-hot", the number of choices of each element.
      starts: for the kind "one-hot", the first choice of each element.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: Kind
    sizes: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the network's input for the part."""
        return (sum(self.sizes),) if self.kind == "one-hot" else self.shape


Spec: TypeAlias = "PartSpec | dict[str, Spec] | tuple[Spec, ...]"


class WrongValueError(ValueError):
    """A value has another type or shape than it must have; the message completes "... gave ...".

    `as_batch` and those who read what environments give name who gave it.
    """


def as_spec(observations: Spec | Sequence[int]) -> Spec:
    """Give a spec as it is; the shape of an array stands for a float32 vector."""
    if isinstance(observations, PartSpec | dict) or (observations and not isinstance(observations[0], int)):
        return observations  # type: ignore[return-value]
    return PartSpec(tuple(observations), "float32", "vector")  # type: ignore[arg-type]


def map_parts(function: Callable[..., Any], spec: Spec, *nests: Any) -> Any:
    """Apply a function to every part and to what other nests of the same structure have in its place.

    Raises:
      WrongValueError: a nest has another structure; the message names the place.
    """
    return _map(function, spec, nests, "")


def is_image(shape: tuple[int, ...], dtype: str) -> bool:
    """Tell whether arrays are images: bytes with height, width and channels, large enough for a convolution."""
    return dtype == "uint8" and len(shape) == 3 and sorted(shape)[1] >= 5


def parts(nest: Any) -> Iterator[tuple[str, Any]]:
    """Give the parts of a spec, or of a nest like one, with their names: the path to them, joined by "/".

    A lone part has an empty name.
    """
    if not isinstance(nest, Mapping | tuple):
        yield "", nest
        return
    for name, below in sorted(nest.items()) if isinstance(nest, Mapping) else enumerate(nest):
        for path, part in parts(below):
            yield f"{name}/{path}" if path else str(name), part


def flatten_to(spec: Spec, nest: Any) -> list[Any]:
    """Give what a nest of the spec's structure has in the places of the parts, in the order of `parts`."""
    if isinstance(spec, PartSpec):
        # Asked for at every step.
        return [nest]
    found: list[Any] = []
    map_parts(lambda _, value: found.append(value), spec, nest)
    return found


def nest_of(structure: Any, values: Iterable[Any]) -> Any:
    """Undo `flatten_to`: give values, in the order of `parts`, the structure of a spec or of another nest."""
    waiting = iter(values)

    def nest(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {name: nest(part[name]) for name in sorted(part)}
        return tuple(map(nest, part)) if isinstance(part, tuple) else next(waiting)

    return nest(structure)


def difference(ours: Spec, theirs: Spec) -> tuple[str, str] | None:
    """Describe the first part in which two specs differ, on both sides; None if they agree.

    Numbers that are normalised may have any type.
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
    kind = {"image": "image ", "mask": "mask "}.get(part.kind, "")
    return f"{name + ': ' if name else ''}{dtype}{kind}array of shape {part.shape}{choices}"


def without_masks(spec: Spec, nest: Any) -> Any:
    """Give the nest without the parts of kind "mask"; a dict of which one entry is left becomes this entry."""
    if isinstance(spec, PartSpec):
        return nest
    if isinstance(spec, tuple):
        return tuple(without_masks(part, value) for part, value in zip(spec, nest, strict=True))
    kept = {name: without_masks(spec[name], nest[name]) for name in sorted(spec) if not _is_mask(spec[name])}
    return next(iter(kept.values())) if len(kept) == 1 < len(spec) else kept


def mask_of(spec: Spec, nest: Any) -> Any:
    """Give what the nest has in the place of the part of kind "mask", or None if there is no such part."""
    if isinstance(spec, dict):
        for name in spec:
            if _is_mask(spec[name]):
                return nest[name]
    return None


def named(prefix: str, nest: Any) -> dict[str, Any]:
    """Name the parts of a nest for an exported model: PREFIX for a lone part, else PREFIX_PATH_OF_NAMES.

    Raises:
      ValueError: two parts would have one name.
    """
    found: dict[str, Any] = {}
    for path, part in parts(nest):
        name = f"{prefix}_{re.sub('[^0-9A-Za-z]', '_', path)}" if path else prefix
        if name in found:
            raise ValueError(f"two parts would be exported as {name}: rename one")
        found[name] = part
    return found


def unnamed(prefix: str, structure: Any, values: Mapping[str, Any]) -> Any:
    """Undo `named`: give the values the structure of a nest whose own parts are not looked at."""
    return nest_of(structure, [values[name] for name in named(prefix, structure)])


def to_json(spec: Spec) -> dict[str, Any]:
    """Describe a spec as JSON holds it, with Gymnasium's names of spaces and of their parts."""
    if isinstance(spec, dict):
        return {"type": "Dict", "spaces": {name: to_json(part) for name, part in spec.items()}}
    if isinstance(spec, tuple):
        return {"type": "Tuple", "spaces": [to_json(part) for part in spec]}
    if spec.kind == "one-hot" and not spec.shape:
        return {"type": "Discrete", "n": spec.sizes[0], "start": spec.starts[0], "dtype": spec.dtype}
    own: dict[str, Any] = {"shape": list(spec.shape), "dtype": spec.dtype}
    if spec.kind == "one-hot":
        return {"type": "MultiDiscrete", "nvec": list(spec.sizes), "start": list(spec.starts), **own}
    return {"type": "MultiBinary" if spec.kind in ("binary", "mask") else "Box", **own, "kind": spec.kind}


def from_json(description: Mapping[str, Any]) -> Spec:
    """Make a spec again from `to_json`."""
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
    return PartSpec(*own, description["kind"])


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
    """Raise WrongValueError unless a nest has the keys, or the number of parts, of the dict or tuple at a place."""
    if isinstance(spec, dict):
        if isinstance(nest, Mapping) and nest.keys() == spec.keys():
            return
    elif isinstance(nest, tuple | list) and len(nest) == len(spec):
        return
    own = f"Dict of {', '.join(spec)}" if isinstance(spec, dict) else f"Tuple of {len(spec)}"
    where = f"{place} of the observation" if place else "an observation"
    raise WrongValueError(f"{kind_of(nest)} as {where}, its space is a {own}")


def kind_of(value: Any) -> str:
    """Say what kind of value is given instead of another one."""
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return "None" if value is None else f"a {type(value).__name__}{size}"
