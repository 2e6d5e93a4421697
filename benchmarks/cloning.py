"""`cloning`: measure the return of a clone of a saved model, whether further training loses it, and the steps saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.documents import PEERS
from benchmarks.report import print_tables
from benchmarks.tables import RunResult, read_table
from benchmarks.timing import Row
from tf_trpo import Experiment
from tf_trpo.callbacks import Evaluate
from tf_trpo.demonstrations import Demonstrations, record

Start = Literal["clone", "nothing"]


@dataclasses.dataclass(frozen=True)
class Cloning:
    """Record a saved model, and train a clone of it and a new agent with the settings of the environment's preset."""

    env: str = "Hopper-v5"
    """Gymnasium id; the model is saved_models/ENV."""
    shown: int = 10
    """Number of recorded episodes."""
    starts: tuple[Start, ...] = ("clone", "nothing")
    """Agents to train: a clone of the model, or a new agent."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the trainings."""
    total_steps: int = 100_000
    """Environment steps of a training; schedules follow the preset's total_steps."""
    every: int = 10_000
    """Environment steps between evaluations."""
    episodes: int = 10
    """Episodes of an evaluation, with the most likely actions."""
    target: float | None = None
    """Return to reach; None: the mean of sb3-contrib's TRPO after 1M steps (docs/results/peers/results.csv)."""

    def run(self) -> None:
        """Train, and print a row for each training when all are done."""
        demonstrations = record(Path("saved_models") / self.env, self.env, self.shown, seed=1_000_000)
        target = self._target()
        rows = [self._train(start, seed, demonstrations, target) for start in self.starts for seed in self.seeds]
        shown = f"{self.shown} episodes of saved_models/{self.env}, mean return {demonstrations.returns.mean():.0f}"
        print_tables([(f"{shown}; the return to reach is {target:.0f}", rows)])

    def _train(self, start: Start, seed: int, demonstrations: Demonstrations, target: float) -> Row:
        experiment = Experiment.from_preset(self.env, seed=seed)
        rollouts, making = experiment.rollouts, experiment.environment.arguments()
        agent = experiment.make_agent()
        if start == "clone":
            agent.clone(demonstrations, seed=seed, verbose=0)
        evaluating = {"episodes": self.episodes, "seed": 2_000_000, **making}
        first = agent.evaluate(self.env, **evaluating)["mean_return"]
        history = agent.fit(
            self.env,
            self.total_steps,
            num_envs=rollouts.num_envs,
            num_steps=rollouts.num_steps,
            restart_every=rollouts.restart_every,
            schedule_steps=experiment.run.total_steps,
            seed=seed,
            callbacks=[Counted(self.env, self.every, **evaluating)],
            verbose=0,
            **making,
        ).history
        steps, returns = [0, *history["eval/steps"]], [first, *history["eval/mean_reward"]]
        reached = [at for at, found in zip(steps, returns, strict=True) if found >= target]
        return {
            "start": start,
            "seed": seed,
            "steps": steps[-1],
            "return at the start": f"{first:.0f}",
            "least afterwards": f"{min(returns[1:]):.0f}",
            "last": f"{returns[-1]:.0f}",
            "steps to the return": reached[0] if reached else "not reached",
        }

    def _target(self) -> float:
        if self.target is not None:
            return self.target
        results = read_table(PEERS / "results.csv", RunResult)
        found = [run.deterministic for run in results if (run.env, run.name) == (self.env, "sb3-contrib")]
        if not found:
            raise ValueError(f"nothing is known of sb3-contrib's TRPO on {self.env}: give a --target")
        return float(np.mean(found))


class Counted(Evaluate):
    """Evaluates, and logs the environment steps of each evaluation."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if logs is not None and "eval/mean_reward" in logs:
            logs["eval/steps"] = int(self.model.env_steps.numpy())
