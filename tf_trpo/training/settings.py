"""How a rollout becomes a batch, and how the value function is fitted."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tf_trpo.ranges import require_allowed

ValueTarget = Literal["lambda-return", "reward-to-go"]
JitCompile = bool | Literal["auto"]
"""Whether XLA compiles an update."""


@dataclasses.dataclass(frozen=True)
class UpdateSettings:
    """Advantages, and the regression of the value function: lines 5, 6 and 10 of Algorithm 1.

    Raises:
      ValueError: a setting is outside its range.
    """

    gamma: float = 0.99
    """Discount, in [0, 1]."""
    gae_lambda: float = 0.95
    """Lambda of the generalised advantage estimates, in [0, 1]."""
    normalize_advantages: bool = True
    """Shift and scale advantages to mean 0 and standard deviation 1 over the batch."""
    advantage_clip: float | None = None
    """Cut the policy's advantages at this many standard deviations from their mean over the batch, > 0; None: never.
    Value targets are not cut. The epsilon of the lower bound is the largest advantage that is left."""
    normalize_rewards: bool = True
    """Divide rewards by the running standard deviation of the discounted return."""
    value_target: ValueTarget = "lambda-return"
    """What the value function is regressed on: A + V, or the discounted rewards of Algorithm 1, line 5."""
    value_function_first: bool = False
    """Fit the value function before the policy's step, and take the step's advantages by the fitted function, which
    has seen the batch: less noise and more bias. By default both use the function that collected."""
    value_learning_rate: float | None = None
    """Learning rate of the value function's optimizer, > 0; None: what it is, which is 0.001 at first."""
    value_learning_rate_decay: bool = False
    """Let the learning rate fall linearly towards 0 within each fit; the next fit begins at the full rate again."""
    value_epochs: int = 10
    """Passes of a fit over the batch, in [0, 10000]."""
    value_minibatch_size: int = 128
    """Samples of a minibatch, >= 1."""
    chunk_size: int | None = None
    """Samples that the update has in memory at once, >= 1; a larger batch gives the same result in chunks, up to
    rounding. None: 32,768, or fewer if an observation is large, such as an image."""

    segment_length: int | None = None
    """Of a policy with a memory: rows through which gradients and curvature go back, >= 1, a divisor of num_steps. A
    segment begins with what the memory held when the policy acted. None: 64, or num_steps if they are fewer."""
    burn_in: int = 0
    """Of a policy with a memory: rows before each segment, >= 0, which it goes through and which do not count."""

    def __post_init__(self) -> None:
        require_allowed(
            self,
            gamma="[0, 1]",
            gae_lambda="[0, 1]",
            advantage_clip="(0, inf)",
            value_learning_rate="(0, inf)",
            value_epochs="[0, 10000]",
            value_minibatch_size="[1, inf)",
            chunk_size="[1, inf)",
            segment_length="[1, inf)",
            burn_in="[0, inf)",
        )
        if self.value_function_first and self.value_epochs == 0:
            raise ValueError("value_function_first needs a fit of the value function: value_epochs of at least 1")
