"""`benchmark`: measure the speed, against the machine and against a peer; and what is learned, over seeds."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from typing import Any

from tf_trpo.cli.benchmark import settings as options
from tf_trpo.cli.errors import UsageError, one_line_errors
from tf_trpo.cli.limits import check_limits
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.startup import start_tensorflow


def main(argv: Sequence[str]) -> None:
    """Parse options, measure, print."""
    description = "Measure the speed (nothing else should run on the machine), or what is learned over seeds."
    with one_line_errors():
        command = parse(options.Command, argv, "benchmark", description=description)
        _check(command)
        if isinstance(command, options.Learn | options.Results | options.Export):
            _of_suite(command)
            return
        start_tensorflow(command.threads)
        tables = _tables(command)
    from tf_trpo.cli.benchmark import report

    (report.print_json if command.json else report.print_tables)(tables)


def _of_suite(command: options.Learn | options.Results | options.Export) -> None:
    from tf_trpo.cli.benchmark.results import print_results, summary

    if isinstance(command, options.Results):
        print_results(command)
    elif isinstance(command, options.Export):
        from tf_trpo.cli.benchmark.export import export_medians

        for version in export_medians(command):
            print(version)
    else:
        from tf_trpo.cli.benchmark import report
        from tf_trpo.cli.benchmark.learn import learn

        title = f"Final returns of suite {command.suite}, {command.episodes} episodes"
        report.print_tables([(title, summary(learn(command)))])


def _check(command: options.Command) -> None:
    for name, value in vars(command).items():
        numbers = value if isinstance(value, tuple) else (value,)
        lowest = 0 if name in ("threads", "first_seed") else 1
        if name == "fractions" and numbers[0] != 1:
            raise UsageError(f"the first of fractions must be 1, got {numbers[0]}")
        for number in numbers:
            if name == "fractions" and not 0 < number <= 1:
                raise UsageError(f"fractions must lie in (0, 1], got {number}")
            if isinstance(number, int) and not isinstance(number, bool) and number < lowest:
                raise UsageError(f"{name} must be at least {lowest}, got {number}")
    check_limits(vars(command))


def _tables(command: options.Common) -> list[Any]:
    import gymnasium as gym

    from tf_trpo.cli.benchmark import commands
    from tf_trpo.cli.benchmark.peer import start_peer

    try:
        if isinstance(command, options.AgainstPeer):
            compare = {
                options.Update: commands.update,
                options.Collect: commands.collect,
                options.Train: commands.train,
            }
            python = command.against_sb3
            with start_peer(python) if python is not None else contextlib.nullcontext() as peer:
                return compare[type(command)](command, peer)  # type: ignore[operator]
        alone = {
            options.Scaling: commands.scaling,
            options.Roofline: commands.roofline,
            options.Serve: commands.serve,
        }
        return alone[type(command)](command)  # type: ignore[operator]
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()[-1:]
        raise UsageError(" ".join([*str(error).split(), *said])) from None
    except (ImportError, OSError, ValueError, gym.error.Error) as error:
        raise UsageError(str(error)) from None
