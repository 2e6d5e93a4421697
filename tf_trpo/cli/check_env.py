"""`check-env`: report what will go wrong when an agent is trained in an environment."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tf_trpo.cli.errors import FAILED, one_line
from tf_trpo.cli.parsing import Positional, parse
from tf_trpo.cli.startup import start_keras
from tf_trpo.experiment.imports import check_imports, flag_for
from tf_trpo.experiment.options import as_options
from tf_trpo.experiment.settings import SEEDS, EnvironmentSettings
from tf_trpo.ranges import require_allowed

if TYPE_CHECKING:
    from tf_trpo.environments import EnvironmentReport


@dataclasses.dataclass(frozen=True)
class CheckOptions(EnvironmentSettings):
    """Step an environment with random actions, and report what will go wrong in training and what to do about it.

    The exit status is 0 if nothing prevents training, and 3 otherwise.
    """

    env: Positional[str] = dataclasses.field(kw_only=True)
    """A class or a function that makes environments, as module:Class, or a Gymnasium id. The code of a class or
    function runs also without --allow-import."""
    steps: int = 2000
    """Environment steps to take."""
    seed: int = 0
    """Seed of the episodes and of the actions."""
    allow_import: bool = False
    """Allow wrappers, costs, and an id of the form module:Id, to import their modules, which runs their code."""
    json: bool = False
    """Print one JSON object: findings (severity, name, what, advice) and facts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_allowed(self, steps="[1, 1e9]", seed=SEEDS)


def main(argv: Sequence[str]) -> None:
    """Check the environment that the options name, print the report, and set the exit status."""
    options = parse(CheckOptions, argv, "check-env")
    check_imports("", options, allow_import=options.allow_import)
    start_keras()
    from tf_trpo.environments import check_environment
    from tf_trpo.environments.costs import import_costs
    from tf_trpo.environments.making import find_maker, find_wrapper

    for wrapper in options.wrapper:
        find_wrapper(wrapper)
    import_costs(options.costs)
    try:
        is_id = find_maker(options.env) is None
    except ValueError:
        # The module cannot be imported. The check tries it again, and reports that.
        is_id = False
    # To name a class is to ask for its code to run, but an id may look harmless.
    if is_id:
        check_imports(options.env, EnvironmentSettings(), allow_import=options.allow_import)
    how = {name: getattr(options, name) for name in ("info_keys", "costs", "steps", "seed")}
    report = check_environment(options.env, **options.arguments(), **how)
    if options.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        _show(report, options)
    if report.prevents_training:
        raise SystemExit(FAILED)


def _show(report: EnvironmentReport, options: CheckOptions) -> None:
    console = Console(highlight=False, soft_wrap=True)

    def say(*lines: str, **style: Any) -> None:
        console.print("\n".join(lines), markup=False, **style)

    width = max(map(len, report.facts), default=0)
    for label, fact in report.facts.items():
        say(f"{label:<{width}}  {fact}")
    for finding in report.findings:
        say(
            f"\n{finding.severity} ({finding.name})", style="bold red" if finding.severity == "error" else "bold yellow"
        )
        # The environment's own messages may hold anything, such as control characters.
        what = one_line(finding.what)
        say(f"  {what[:1].upper()}{what[1:]}", f"  What to do: {finding.advice}")
    errors = sum(finding.severity == "error" for finding in report.findings)
    others = len(report.findings) - errors
    preventing = "1 problem that prevents" if errors == 1 else f"{errors} problems that prevent"
    say(f"\nFound {preventing} training and {others} other{'s' * (others != 1)}.")
    if not errors:
        say(f"To train in it: python -m tf_trpo train {_arguments(options)}")


def _arguments(options: CheckOptions) -> str:
    """Return the options of `train` for the same environment."""
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(EnvironmentSettings)}
    default = EnvironmentSettings()
    chosen = {name: value for name, value in given.items() if value != getattr(default, name)}
    words = as_options({"env": options.env, **chosen})
    return shlex.join(words) + flag_for(options.env, options)
