"""`evaluate`: run episodes with a trained agent."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from tf_trpo.cli.parsing import Positional, parse
from tf_trpo.cli.startup import start_keras
from tf_trpo.experiment import RunFolder
from tf_trpo.experiment.evaluating import evaluation_arguments, for_evaluation
from tf_trpo.experiment.imports import check_imports
from tf_trpo.experiment.settings import EPISODES, SEEDS
from tf_trpo.messages import rounded
from tf_trpo.ranges import require_allowed


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Run whole episodes with a trained agent and report returns in the environment's own rewards."""

    run_dir: Positional[Path]
    """Folder of a run, as train writes it."""
    episodes: int = 20
    """Number of whole episodes to run."""
    num_envs: int | None = None
    """Number of environments that are opened and stepped together; by default the run's eval_envs."""
    stochastic: bool = False
    """Sample actions; by default the most likely actions are taken."""
    seed: int = 0
    """Seed of environments and actions."""
    allow_import: bool = False
    """Allow an environment of the form module:Class or module:Id, wrappers and cost functions to import their modules,
    which runs the modules' code."""
    json: bool = False
    """Print one JSON object: mean_return, std_return, mean_length, episodes, cost/NAME, and info/KEY of the run."""

    def __post_init__(self) -> None:
        require_allowed(self, episodes=EPISODES, num_envs="[1, 10000]", seed=SEEDS)


def main(argv: Sequence[str]) -> None:
    """Evaluate the agent of a run and print the result."""
    options = parse(EvaluateOptions, argv, "evaluate")
    folder = RunFolder(options.run_dir)
    folder.check_trained()
    experiment = for_evaluation(folder)
    making = experiment.environment
    check_imports(experiment.env, making, allow_import=options.allow_import)
    start_keras()
    import tf_trpo
    from tf_trpo.environments.costs import import_costs

    agent = tf_trpo.load(folder.agent)
    import_costs(making.costs)
    how = {**evaluation_arguments(experiment), "stochastic": options.stochastic, "seed": options.seed}
    if options.num_envs is not None:
        how["num_envs"] = options.num_envs
    result = agent.evaluate(experiment.env, options.episodes, **how)
    if options.json:
        print(json.dumps(result))
    else:
        kind = "stochastic" if options.stochastic else "deterministic"
        returned = f"mean return {rounded(result['mean_return'], 2)} +- {rounded(result['std_return'], 2)}"
        print(f"{returned}, mean length {result['mean_length']:.1f}, {result['episodes']} episodes, {kind} actions")
        for name, mean in result.items():
            if name.startswith(("info/", "cost/")):
                print(f"mean of {name} {mean:.4g}")
