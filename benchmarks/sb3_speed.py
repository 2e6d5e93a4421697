"""Measure the speed of sb3-contrib's TRPO: a program for a Python that has sb3-contrib, driven by `peer.py`.

Each line on standard input is a job as a JSON object; the answer is one JSON line with the measurement. If a job is the
same as the one before, it is not prepared again. The program does not import tf_trpo.
"""

import copy
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env


class IterationTimes(BaseCallback):
    """Records the times at which rollouts begin and training ends."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def _on_rollout_start(self) -> None:
        self.times.append(time.perf_counter())

    def _on_training_end(self) -> None:
        self.times.append(time.perf_counter())

    def _on_step(self) -> bool:
        return True


def make_model(job: dict[str, Any]) -> TRPO:
    """Make an agent with the settings of the job, and sb3-contrib's defaults for all others."""
    env = make_vec_env(job["env"], n_envs=job["num_envs"], seed=0)
    sees_images = len(env.observation_space.shape) == 3
    # sb3's network for images already has a layer of 512 units.
    sizes = [] if sees_images else job["hidden_sizes"]
    return TRPO(
        "CnnPolicy" if sees_images else "MlpPolicy",
        env,
        n_steps=job["num_steps"],
        n_critic_updates=job["value_epochs"],
        batch_size=job["value_minibatch_size"],
        cg_max_steps=job["cg_iterations"],
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": {"pi": sizes, "vf": sizes}},
    )


def update(job: dict[str, Any]) -> Callable[[], float]:
    """Measure the seconds of train() on one rollout, from the same weights every time."""
    model = make_model(job)
    model.train = lambda: None
    model.learn(job["num_steps"] * job["num_envs"])
    del model.train
    weights = copy.deepcopy(model.policy.state_dict())

    def repeat() -> float:
        model.policy.load_state_dict(weights)
        start = time.perf_counter()
        model.train()
        return time.perf_counter() - start

    return repeat


def train(job: dict[str, Any]) -> Callable[[], float]:
    """Measure the steps per second of whole iterations, without the first one."""
    model = make_model(job)
    rows = job["num_steps"] * job["num_envs"]

    def repeat() -> float:
        times = IterationTimes()
        model.learn(rows * (job["iterations"] + 1), callback=times)
        return rows * job["iterations"] / (times.times[-1] - times.times[1])

    return repeat


def collect(job: dict[str, Any]) -> Callable[[], float]:
    """Measure the steps per second of collecting a rollout."""
    model = make_model(job)
    model.train = lambda: None
    rows = job["num_steps"] * job["num_envs"]

    def repeat() -> float:
        start = time.perf_counter()
        model.learn(rows, reset_num_timesteps=False)
        return rows / (time.perf_counter() - start)

    return repeat


def main() -> None:
    """Answer jobs until standard input ends."""
    jobs: dict[str, Callable[[], float]] = {}
    for line in sys.stdin:
        job = json.loads(line)
        if job["threads"]:
            torch.set_num_threads(job["threads"])
        if line not in jobs:
            # Keep only the environments and the model of the current job.
            jobs.clear()
            jobs[line] = {"update": update, "train": train, "collect": collect}[job["work"]](job)
        print(json.dumps({"figure": jobs[line]()}), flush=True)


if __name__ == "__main__":
    main()
