"""Settings of the advantages and of the value function's fit."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tf_trpo.ranges import require, require_allowed

_SEGMENT_LENGTHS = range(64, 256 + 1)
"""Numbers of rows of a segment that are chosen by default, for rollouts that are not shorter."""
ValueTarget = Literal["lambda-return", "reward-to-go"]
JitCompile = bool | Literal["auto"]
"""Whether XLA compiles an update."""
ROUNDING = frozenset({"chunk_size", "fisher_vector_product"})
"""Settings of an update that change its result by rounding only."""


@dataclasses.dataclass(frozen=True)
class UpdateSettings:
    """Settings of the advantages and of the value function's regression: lines 5, 6 and 10 of Algorithm 1.

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
    """Clip the policy's advantages at this many standard deviations from their mean over the batch, > 0; None: never.
    Value targets are not clipped. In the logged lower bound, epsilon is the largest advantage after clipping."""
    normalize_rewards: bool = True
    """Divide rewards by the running standard deviation of the discounted return."""
    value_target: ValueTarget = "lambda-return"
    """Target of the value function: A + V, or the discounted rewards of Algorithm 1, line 5."""
    value_function_first: bool = False
    """Fit the value function before the policy's step, and compute the step's advantages with the fitted function,
    which has seen the batch: less noise and more bias. By default, advantages are computed before the fit."""
    value_learning_rate: float | None = None
    """Learning rate of the value function's optimizer, > 0; None: keep the present rate, which is 0.001 at first."""
    value_learning_rate_decay: bool = False
    """Decrease the learning rate linearly towards 0 within each fit; the next fit starts at the full rate again."""
    value_epochs: int = 10
    """Number of passes of each fit over the batch, in [0, 10000]."""
    value_minibatch_size: int = 128
    """Samples in a minibatch, >= 1."""
    chunk_size: int | None = None
    """Largest number of samples that the update has in memory at once, >= 1; a larger batch is processed in chunks,
    with the same result up to rounding. None: 32,768, or fewer if observations are large, such as images."""

    segment_length: int | None = None
    """With a memory: number of rows of a segment, >= 1, a divisor of num_steps. Gradients and curvature are
    backpropagated to the segment's first row, or to the first row of its burn-in. There, the memory starts from the
    state that it had when the policy acted. None: the smallest divisor of num_steps that is at least 64, or num_steps
    if it is below 64; a num_steps without a divisor in [64, 256] needs a segment_length."""
    burn_in: int = 0
    """With a memory: number of rows before each segment, >= 0, through which gradients and curvature are
    backpropagated too, but which are not samples."""

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

    def segment_length_for(self, num_steps: int) -> int:
        """Return the number of rows of a memory's segments, for rollouts of `num_steps` rows.

        Raises:
          ValueError: segment_length does not divide num_steps, or is not given and num_steps is above 64 and has no
            divisor in [64, 256]; or burn_in is above num_steps less segment_length.
        """
        length = self.segment_length or _default_segment_length(num_steps)
        require(num_steps % length == 0, "num_steps", f"a multiple of segment_length, {length}", num_steps)
        most = f"at most num_steps - segment_length = {num_steps} - {length}"
        require(self.burn_in <= num_steps - length, "burn_in", most, self.burn_in)
        return length

    def check_without_memory(self) -> None:
        """Raise ValueError if a setting has an effect only for policies with a memory."""
        if self.segment_length or self.burn_in:
            raise ValueError("segment_length and burn_in need a policy with a memory, and the agent has none")


def _default_segment_length(num_steps: int) -> int:
    length = _divisor(num_steps)
    if length is None:
        # Other numbers, the nearest ones first.
        others = (num_steps + sign * distance for distance in range(1, num_steps) for sign in (-1, 1))
        near = next(filter(_divisor, others))
        allowed = f"a multiple of a number in [{_SEGMENT_LENGTHS[0]}, {_SEGMENT_LENGTHS[-1]}], such as {near}"
        raise ValueError(f"num_steps must be {allowed}, if segment_length is not given, got {num_steps}")
    return length


def _divisor(num_steps: int) -> int | None:
    """Return the smallest divisor that is among the lengths, or num_steps if it is shorter than all of them."""
    if num_steps < _SEGMENT_LENGTHS[0]:
        return num_steps
    return next((length for length in _SEGMENT_LENGTHS if num_steps % length == 0), None)
