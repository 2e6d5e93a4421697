"""Train and evaluate a peer: a program for a Python that has sb3-contrib, run by `peer.run_training`.

The argument is a job as a JSON object. The answer is one JSON line with the mean and standard deviation of returns in
both modes of evaluation, the seconds of training, and the versions of packages. With 0 episodes, nothing is evaluated.
A job without `num_envs` and `arguments` has one environment and the algorithm's defaults. The program does not import
tf_trpo.
"""

import json
import pkgutil
import sys
import time
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces, wrappers
from sb3_contrib import TRPO, RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

ALGORITHMS = {"TRPO": TRPO, "PPO": PPO, "RecurrentPPO": RecurrentPPO}


def make_env(job: dict[str, Any]) -> gym.Env:
    """Make the environment; a Dict observation becomes a vector without its text."""
    env = gym.make(job["env"], **job["env_kwargs"])
    for name in job.get("wrappers", ()):
        env = pkgutil.resolve_name(name)(env)
    space = env.observation_space
    if isinstance(space, spaces.Dict):
        numbers = [name for name, part in space.items() if part.dtype is None or part.dtype.kind in "biuf"]
        env = wrappers.FlattenObservation(wrappers.FilterObservation(env, numbers))
    elif isinstance(space, spaces.Box) and len(space.shape) == 2:
        env = wrappers.FlattenObservation(env)
    return Monitor(env)


def main(job: dict[str, Any]) -> None:
    """Train with VecNormalize and the job's arguments, and print the evaluation."""
    torch.set_num_threads(1)
    seed, make = job["seed"], lambda: make_env(job)
    environments = DummyVecEnv([make] * job.get("num_envs", 1))
    environments.seed(seed)
    space = environments.observation_space
    sees_images = isinstance(space, spaces.Box) and len(space.shape) == 3
    arguments = job.get("arguments", {})
    # As RL Zoo, returns are scaled by the discount factor of the algorithm.
    scaling = {"gamma": arguments["gamma"]} if "gamma" in arguments else {}
    normalized = VecNormalize(environments, norm_obs=isinstance(space, spaces.Box) and not sees_images, **scaling)
    network = ("Cnn" if sees_images else "Mlp") + ("Lstm" if job["algorithm"] == "RecurrentPPO" else "")
    model = ALGORITHMS[job["algorithm"]](f"{network}Policy", normalized, seed=seed, device="cpu", **arguments)
    start = time.perf_counter()
    model.learn(job["steps"])
    versions = {"sb3-contrib": sb3_contrib, "stable-baselines3": stable_baselines3, "torch": torch}
    result = {
        "seconds": time.perf_counter() - start,
        "versions": " ".join(f"{name} {module.__version__}" for name, module in versions.items()),
    }
    for mode in ("deterministic", "stochastic") if job["episodes"] else ():
        evaluated = VecNormalize(DummyVecEnv([make]), norm_obs=normalized.norm_obs, norm_reward=False, training=False)
        if normalized.norm_obs:
            evaluated.obs_rms = normalized.obs_rms
        evaluated.seed(seed + 1_000_000)
        returns, _ = evaluate_policy(
            model, evaluated, job["episodes"], deterministic=mode == "deterministic", return_episode_rewards=True
        )
        result[mode], result[f"{mode}_std"] = float(np.mean(returns)), float(np.std(returns))
    print(json.dumps(result))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(json.loads(sys.argv[1]))
