"""Print tables as Markdown or JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.timing import Measured, Table
from tf_trpo.cores import processor_name
from tf_trpo.versions import installed_versions


def machine() -> dict[str, Any]:
    """Describe the machine and the packages on which the measurements depend."""
    return {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        **installed_versions(("tensorflow", "keras", "gymnasium", "mujoco", "envpool")),
    }


def print_json(tables: Sequence[Table]) -> None:
    """Print one JSON object: the machine and the rows of each table; measurements have median, quartiles and values."""
    content = [{"title": title, "rows": [_plain(row) for row in rows]} for title, rows in tables]
    print(json.dumps({"machine": machine(), "tables": content}, indent=1))


def print_tables(tables: Sequence[Table]) -> None:
    """Print Markdown that documents can quote; measurements are medians, with quartiles in brackets."""
    print(", ".join(f"{name} {value}" for name, value in machine().items() if value))
    for title, rows in tables:
        measured = any(isinstance(value, Measured) and value.values[1:] for row in rows for value in row.values())
        print(f"\n{title}{' (median [quartiles])' if measured else ''}\n")
        print("\n".join(markdown(rows)))


def markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table; its columns are those of all rows, in order of first appearance."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    lines = [header, *([_cell(row.get(name, "")) for name in header] for row in rows)]
    names, *cells = (f"| {' | '.join(line)} |" for line in lines)
    return [names, "|" + "---|" * len(header), *cells]


def _cell(value: Any) -> str:
    if isinstance(value, Measured) and value.values[1:]:
        low, high = value.quartiles
        return f"{_number(value.median)} [{_number(low)}, {_number(high)}]"
    value = value.median if isinstance(value, Measured) else value
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"median": value.median, "quartiles": value.quartiles, "values": value.values}
        if isinstance(value, Measured)
        else value
        for name, value in row.items()
    }
