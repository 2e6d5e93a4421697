"""`cloning`: measure the return of a clone of a saved model, whether further training loses it, and the steps saved."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.documents import PEERS
from benchmarks.tables import RunResult, read_table
from benchmarks.timing import Row, Table, Tables
from tf_trpo import TRPO, Experiment
from tf_trpo.callbacks import Evaluate
from tf_trpo.demonstrations import Demonstrations, record
from tf_trpo.experiment.evaluating import evaluation_arguments

Start = Literal["clone", "clone-with-learned-std", "nothing"]
FIRST_UPDATES = 5
"""Number of updates that could lose a clone; the policy is evaluated after each of them."""


@dataclasses.dataclass(frozen=True)
class Cloning(Tables):
    """Record a saved model, and train clones of it and new agents with the settings of the environment's preset.

    Returns are those of the most likely actions, by the moving average of the weights. "Sampled" returns are those of
    training: sampled actions of the policy itself, which is evaluated before training and after each of the first five
    updates.
    """

    envs: tuple[str, ...] = ("HalfCheetah-v5", "Hopper-v5")
    """Gymnasium ids; the models are saved_models/ENV."""
    shown: int = 10
    """Number of recorded episodes."""
    starts: tuple[Start, ...] = ("clone", "nothing")
    """Agents to train: clones of the model, clones whose standard deviation is learned even if the preset has a
    schedule, or new agents."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    total_steps: int = 1_000_000
    """Environment steps of a training; schedules follow the preset's total_steps."""
    every: int = 10_000
    """Environment steps between evaluations."""
    episodes: int = 10
    """Episodes of an evaluation."""
    target: float | None = None
    """Return to reach; None: the mean of sb3-contrib's TRPO after 1M steps (docs/results/peers/results.csv)."""

    def tables(self) -> list[Table]:
        targets = [self._target(env) for env in self.envs]
        return [self._table(*each) for each in zip(self.envs, targets, strict=True)]

    def _table(self, env: str, target: float) -> Table:
        demonstrations = record(Path("saved_models") / env, env, self.shown, seed=1_000_000)
        rows = []
        for start in self.starts:
            for seed in self.seeds:
                rows.append(self._train(env, start, seed, demonstrations, target))
                # An interrupted command has shown the rows of the trainings that were complete.
                print(env, rows[-1], file=sys.stderr, flush=True)
        shown = f"{self.shown} episodes of saved_models/{env}, mean return {demonstrations.returns.mean():.0f}"
        return f"{shown}; the return to reach is {target:.0f}", rows

    def _train(self, env: str, start: Start, seed: int, demonstrations: Demonstrations, target: float) -> Row:
        experiment = Experiment.from_preset(env, seed=seed)
        if start == "clone-with-learned-std":
            experiment = experiment.replace(final_std=None)
        rollouts, making = experiment.rollouts, experiment.environment.arguments()
        agent = experiment.make_agent()
        if start != "nothing":
            agent.clone(demonstrations, seed=seed, verbose=0)
        evaluating = {**evaluation_arguments(experiment), "episodes": self.episodes, "seed": 2_000_000}
        watching = Watched(agent, env, self.every, **evaluating)
        first, sampled = agent.evaluate(env, **evaluating)["mean_return"], watching.sampled_return()
        history = agent.fit(
            env,
            self.total_steps,
            num_envs=rollouts.num_envs,
            num_steps=rollouts.num_steps,
            restart_every=rollouts.restart_every,
            schedule_steps=experiment.run.total_steps,
            seed=seed,
            callbacks=[watching],
            verbose=0,
            **making,
        ).history
        # In an iteration without an evaluation, its figures are NaN.
        evaluated = {name: [each for each in figures if not math.isnan(each)] for name, figures in history.items()}
        steps, returns = [0, *evaluated["eval/steps"]], [first, *evaluated["eval/mean_reward"]]
        reached = [at for at, found in zip(steps, returns, strict=True) if found >= target]
        return {
            "start": start,
            "seed": seed,
            "return at the start": f"{first:.0f}",
            "sampled at the start": f"{sampled:.0f}",
            f"lowest sampled, updates 1 to {FIRST_UPDATES}": f"{min(evaluated['eval/sampled_return']):.0f}",
            "lowest return": f"{min(returns[1:]):.0f}",
            "last return": f"{returns[-1]:.0f}",
            "steps": steps[-1],
            f"steps to {target:.0f}": reached[0] if reached else "not reached",
        }

    def _target(self, env: str) -> float:
        if self.target is not None:
            return self.target
        results = read_table(PEERS / "results.csv", RunResult)
        wanted = (env, "sb3-contrib", 1_000_000)
        found = [run.deterministic for run in results if (run.env, run.name, run.steps) == wanted]
        if not found:
            raise ValueError(f"nothing is known of sb3-contrib's TRPO on {env}: give a --target")
        return float(np.mean(found))


class Watched(Evaluate):
    """Evaluates, and logs the environment steps of each evaluation, and the sampled return after the first updates."""

    def __init__(self, agent: TRPO, environment: str, every_steps: int, **kwargs: Any) -> None:
        super().__init__(environment, every_steps, **kwargs)
        # An agent without a moving average is evaluated by the weights that are trained, which it shares.
        trained = TRPO(agent.policy, agent.value_function, ema_momentum=None)
        self._evaluate_trained = functools.partial(trained.evaluate, environment, stochastic=True, **kwargs)

    def sampled_return(self) -> float:
        """Return the mean return of sampled actions of the policy that is trained."""
        return self._evaluate_trained()["mean_return"]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if logs is not None and "eval/mean_reward" in logs:
            logs["eval/steps"] = int(self.model.env_steps.numpy())
        if logs is not None and epoch < FIRST_UPDATES:
            logs["eval/sampled_return"] = self.sampled_return()
