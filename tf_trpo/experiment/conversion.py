"""Convert between flat settings by name, as in files and on the command line, and nested settings classes.

The name of a setting is the name of its field, and no two fields of an experiment have the same name. If a field holds
one of several classes (`algorithm` and `radius`), its value in flat settings is the name of the class.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from tf_trpo.experiment.options import option_name
from tf_trpo.optimizers import ALGORITHMS, AdaptiveRadius
from tf_trpo.ranges import described, field_types, plain
from tf_trpo.suggestions import nearest, same_meaning

Flat = dict[str, Any]
T = TypeVar("T")

CHOICES: Mapping[str, Mapping[str, type | None]] = {
    "algorithm": ALGORITHMS,
    "radius": {"fixed": None, "adaptive": AdaptiveRadius},
}
"""Fields that hold one of several classes: field -> name -> class."""
_NOTHING: Mapping[str, str] = MappingProxyType({})


def leaves(settings: type) -> Mapping[str, Any]:
    """Return the types of all settings that a settings class and its nested classes can have, by name."""
    found: Flat = {}
    for field, hint in fields(settings):
        classes = classes_of(field.name, hint)
        if field.name in CHOICES:
            found[field.name] = Literal[tuple(CHOICES[field.name])]
        elif not classes:
            found[field.name] = hint
        for each in classes:
            found |= leaves(each)
    return MappingProxyType(found)


def classes_of(field: str, hint: Any) -> Sequence[type]:
    """Return the settings classes that a field with this name and type can hold; none if it is a setting itself."""
    known = CHOICES.get(field, {"": hint}).values()
    return [each for each in known if isinstance(each, type) and dataclasses.is_dataclass(each)]


def fields(settings: type) -> Sequence[tuple[dataclasses.Field, Any]]:
    """Return the fields of a settings class with their types."""
    hints = field_types(settings)
    return [(field, hints[field.name]) for field in dataclasses.fields(settings)]


def flat(settings: Any) -> Flat:
    """Return a dict of the settings that the chosen classes have, by name."""
    found: Flat = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name in CHOICES:
            found[field.name] = _name_of(field.name, value)
        elif not dataclasses.is_dataclass(value):
            found[field.name] = value
        if dataclasses.is_dataclass(value):
            found |= flat(value)
    return found


def changed(settings: T, changes: Mapping[str, Any], sources: Mapping[str, str] = _NOTHING) -> T:
    """Return a copy of settings with other values; a value goes to the nested class that has its name.

    Args:
      settings: an instance of a settings class; it is not altered.
      changes: new values by name; they are converted to the types of their fields.
      sources: for names whose values come from a file, the prefix of error messages about them.

    Raises:
      ValueError: a name is unknown or belongs to a class that was not chosen, or a value has another type or is
        outside its range. The message names the setting and its source.
    """
    left = dict(changes)
    try:
        made = _changed(settings, left)
    except ValueError as error:
        # The message begins with the name of the setting at fault.
        at_fault = str(error).split(maxsplit=1)[0].rstrip(":")
        raise ValueError(f"{sources.get(at_fault, '')}{error}") from None
    known = leaves(type(settings))
    unknown = [str(name) for name in left if name not in known]
    if unknown:
        where = sources.get(unknown[0], "")
        raise ValueError(f"{where}unknown settings: {unknown_names(unknown, flat(made))}")
    for name in left:
        raise ValueError(f"{sources.get(name, '')}{_why_not(name, flat(made))}")
    return made


def convert(value: object, hint: Any, name: str) -> Any:
    """Convert a value from a file or the command line to the type of its setting.

    Raises:
      ValueError: the value cannot be converted; the message names the setting.
    """
    if value == "None" and type(None) in get_args(hint):
        return None
    is_object = any(get_origin(each) is dict for each in get_args(hint))
    if isinstance(value, str) and is_object:
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if get_origin(hint) is tuple and not isinstance(value, list | tuple):
        value = [value]
    try:
        return msgspec.convert(plain(value), hint, strict=False, dec_hook=lambda kind, text: kind(text))
    except (ValueError, OverflowError, RecursionError):
        wanted = "a JSON object, such as '{\"key\": 1}'" if is_object else described(hint)
        raise ValueError(f"{name} must be {wanted}, got {str(value)[:100]!r}") from None


def unknown_names(unknown: Sequence[str], known: Collection[str]) -> str:
    """Return the part of a message that lists unknown names, and suggests a known one for the first of them."""
    near = nearest(unknown[0], known)
    hint = "" if near is None else f"there is {near}, and "
    return f"{', '.join(unknown)}; {hint}train --help-all shows all"


def foreign(algorithm: str) -> set[str]:
    """Return the names of the settings that only other algorithms have."""
    names = {name for settings in ALGORITHMS.values() for name in leaves(settings)}
    return names - leaves(ALGORITHMS[algorithm]).keys() if algorithm in ALGORITHMS else set()


def _changed(settings: T, left: Flat) -> T:
    """Return a copy of settings with the changes that apply to them, and remove those changes from `left`."""
    own: Flat = {}
    for field, hint in fields(type(settings)):
        name, value = field.name, getattr(settings, field.name)
        if name in CHOICES and name in left:
            value = _chosen(name, left.pop(name), value)
        if dataclasses.is_dataclass(value):
            value = _changed(value, left)
        elif name in left and name not in CHOICES:
            value = convert(left.pop(name), hint, name)
        own[name] = value
    return dataclasses.replace(settings, **own)  # type: ignore[type-var]


def _chosen(name: str, choice: Any, before: Any) -> Any:
    """Make the settings of the class that a name chooses; fields that `before` has too keep their values."""
    settings = CHOICES[name][convert(choice, Literal[tuple(CHOICES[name])], name)]
    if settings is None:
        return None
    shared = [field.name for field in dataclasses.fields(settings) if hasattr(before, field.name)]
    return settings(**{part: getattr(before, part) for part in shared})


def _name_of(field: str, value: object) -> str:
    """Return the name of the class of a field's value."""
    made = None if value is None else type(value)
    names = [name for name, settings in CHOICES[field].items() if settings is made]
    if not names:
        raise ValueError(f"{field} has no name for {value!r}: it is none of {', '.join(CHOICES[field])}")
    return names[0]


def _why_not(name: str, chosen: Flat) -> str:
    """Explain that a setting exists only in classes that were not chosen."""
    for field, choices in CHOICES.items():
        owners = [choice for choice, settings in choices.items() if settings and name in leaves(settings)]
        if owners and chosen.get(field) not in owners:
            kind = "" if field == "algorithm" else f"{field} "
            *others, last = owners
            named = f"{', '.join(others)} and {last}" if others else last
            same = same_meaning(name, chosen)
            hint = f"; the nearest is {same} ({option_name(same)})" if same else ""
            return f"{name} is a setting of {kind}{named}, and does nothing in {kind}{chosen.get(field)}{hint}"
    raise AssertionError(f"{name} was not taken")
