"""`evaluate`: run whole episodes with a trained agent."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import tyro

from tf_trpo.cli.environment_id import check_environment_id
from tf_trpo.cli.errors import FailedError, UsageError, one_line_errors
from tf_trpo.cli.limits import check_limits
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.run_folder import RunFolder
from tf_trpo.cli.settings import LARGEST_SEED
from tf_trpo.cli.startup import start_tensorflow


@dataclasses.dataclass(frozen=True)
class EvaluateSettings:
    """Run whole episodes with a trained agent and report the environment's own returns."""

    run_dir: tyro.conf.Positional[Path]
    """Folder of a run, as train writes it."""
    episodes: int = 20
    """Whole episodes to run."""
    stochastic: bool = False
    """Sample actions; by default the most likely action is taken."""
    seed: int = 0
    """Of environments and actions."""
    allow_import: bool = False
    """Let an id with a module prefix, module:Id, import that module, which runs its code."""
    json: bool = False
    """Print one JSON object: mean_return, std_return, mean_length, episodes."""


def main(argv: Sequence[str]) -> None:
    """Parse options, evaluate, print."""
    with one_line_errors():
        settings: EvaluateSettings = parse(EvaluateSettings, argv, "evaluate")
        result = _evaluate(settings)
    if settings.json:
        print(json.dumps(result))
    else:
        print(
            f"mean return {result['mean_return']:.2f} +- {result['std_return']:.2f}, "
            f"mean length {result['mean_length']:.1f}, {result['episodes']} episodes, "
            f"{'stochastic' if settings.stochastic else 'deterministic'} actions"
        )


def _evaluate(settings: EvaluateSettings) -> dict[str, float]:
    folder = RunFolder(settings.run_dir)
    env = check_environment_id(folder.settings().get("env"), allow_import=settings.allow_import)
    if settings.episodes < 1:
        raise UsageError(f"episodes must be at least 1, got {settings.episodes}")
    if not 0 <= settings.seed <= LARGEST_SEED:
        raise UsageError(f"seed must lie between 0 and {LARGEST_SEED}, got {settings.seed}")
    check_limits({"episodes": settings.episodes})
    start_tensorflow()
    import gymnasium as gym

    from tf_trpo.environments import EnvironmentFailedError

    agent = folder.load_agent()
    try:
        return agent.evaluate(env, settings.episodes, stochastic=settings.stochastic, seed=settings.seed)
    except EnvironmentFailedError as error:
        raise FailedError(f"{env} failed: {error}") from None
    except (ValueError, ImportError, gym.error.Error) as error:
        raise UsageError(f"{folder.config}: env {env}: {error}") from None
