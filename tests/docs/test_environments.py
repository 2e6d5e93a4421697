"""The guide to your own environments."""

from pathlib import Path


def test_the_thermostat_is_learned(run_examples):
    _, printed = run_examples((Path(__file__).parents[2] / "docs" / "environments.md").read_text(encoding="utf-8"))
    assert float(printed.split()[-1]) > 0.3
