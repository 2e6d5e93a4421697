"""The tables, for people or as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_trpo.cli.benchmark.timing import Measured


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    names = [line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name")]
    packages = ("tensorflow", "keras", "gymnasium", "mujoco", "envpool")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def print_json(tables: Sequence[tuple[str, list[dict[str, Any]]]]) -> None:
    """One object: machine, and for each table its rows; a measurement has median, quartiles and values."""
    content = [{"title": title, "rows": [_plain(row) for row in rows]} for title, rows in tables]
    print(json.dumps({"machine": machine(), "tables": content}, indent=1))


def print_tables(tables: Sequence[tuple[str, list[dict[str, Any]]]]) -> None:
    """As Markdown that documents can quote; measurements as medians, with quartiles in brackets."""
    print(", ".join(f"{name} {value}" for name, value in machine().items() if value))
    for title, rows in tables:
        measured = any(isinstance(value, Measured) for row in rows for value in row.values())
        print(f"\n{title}{' (median [quartiles])' if measured else ''}\n")
        print("\n".join(markdown(rows)))


def markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of a table; its columns are those of all rows, in the order in which they first stand."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    names, *cells = (f"| {' | '.join(line)} |" for line in (header, *(_cells(row, header) for row in rows)))
    return [names, "|" + "---|" * len(header), *cells]


def _cells(row: Mapping[str, Any], header: Sequence[str]) -> list[str]:
    return [_cell(row.get(name, "")) for name in header]


def _cell(value: Any) -> str:
    if isinstance(value, Measured):
        low, high = value.quartiles
        return f"{_number(value.median)} [{_number(low)}, {_number(high)}]"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {"median": value.median, "quartiles": value.quartiles, "values": value.values}
        if isinstance(value, Measured)
        else value
        for name, value in row.items()
    }


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
