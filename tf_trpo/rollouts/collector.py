"""Stepping a vector environment by a policy."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.rollouts.actor import Actor
from tf_trpo.rollouts.rollout import Rollout


class Collector:
    """Collects rollouts; episodes go on from one rollout to the next.

    Args:
      environments: with NEXT_STEP autoreset, as `make_vector_environment` gives them.
      actor: the policy, for as many environments.
      seed: of the environments' first reset, one for each or one for all; random by default.

    Attributes:
      observations: float32 [B, ...], where the next rollout begins.
      just_ended: bool [B], whether an episode ended with the last step, so that the next row is no step.
    """

    def __init__(self, environments: VectorEnv, actor: Actor, *, seed: int | list[int] | None = None) -> None:
        self._environments = environments
        self._actor = actor
        self._action_dtype = environments.single_action_space.dtype
        observations, _ = environments.reset(seed=seed)  # type: ignore[arg-type]  # every vector takes a list
        self.observations = np.array(observations, np.float32)
        self.just_ended = np.zeros(environments.num_envs, bool)

    def collect(self, noise: np.ndarray) -> Rollout:
        """Take one step in every environment for each row of noise.

        Args:
          noise: [T, B, ...], of the policy's `noise`.

        Returns:
          A `Rollout` of T steps, in newly allocated arrays.
        """
        num_steps, num_envs = noise.shape[:2]
        observations = np.empty((num_steps + 1, *self.observations.shape), np.float32)
        rewards = np.empty((num_steps, num_envs), np.float64)
        terminated = np.empty((num_steps, num_envs), bool)
        truncated = np.empty((num_steps, num_envs), bool)
        actions = []
        observations[0] = self.observations
        for t in range(num_steps):
            sampled, action = self._actor(observations[t], noise[t])
            actions.append(sampled)
            observations[t + 1], rewards[t], terminated[t], truncated[t], _ = self._environments.step(
                action.astype(self._action_dtype, copy=False)
            )
        return self._rollout(observations, np.stack(actions), rewards, terminated, truncated)

    def _rollout(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
    ) -> Rollout:
        """Mark the rows that follow an episode's end, which are no steps, and remember where this ends."""
        ended = terminated | truncated
        valid = np.empty_like(ended)
        valid[0] = ~self.just_ended
        valid[1:] = ~ended[:-1]
        self.just_ended = ended[-1]
        self.observations = observations[-1].copy()
        return Rollout(observations, actions, rewards * valid, terminated & valid, truncated & valid, valid)
