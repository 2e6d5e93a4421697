"""What an algorithm is used for, and whether its limits fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """What an algorithm is used for.

    Attributes:
      num_costs: number of costs.
      is_anchored: there is an anchor.
      is_averaged: a moving average of the policy's weights is evaluated and exported, and not the policy itself.
      is_scheduled: the policy's standard deviation follows a schedule.
    """

    num_costs: int = 0
    is_anchored: bool = False
    is_averaged: bool = False
    is_scheduled: bool = False

    def check_cost_limits(self, limits: Sequence[float]) -> None:
        """Raise ValueError unless there are costs, and a limit for each one."""
        if not self.num_costs:
            raise ValueError("cost_limits need costs, and the agent has none: costs=[...], or --costs NAME")
        if len(limits) != self.num_costs:
            raise ValueError(
                f"cost_limits has {len(limits)} limits, and the agent has {self.num_costs} costs: give one for each"
            )

    def check_limits_hold(self) -> None:
        """Raise ValueError if limits on costs or the KL from an anchor would not hold for the policy that is used."""
        if self.is_averaged:
            raise ValueError(
                "ema_momentum must be None with an anchor or limits on costs, which hold for the learned policy, "
                "not for an average: PolicySettings(ema_momentum=None), or --ema-momentum None"
            )
        if self.is_scheduled:
            raise ValueError(
                "final_std must be None with an anchor or limits on costs: a schedule changes the policy without "
                "regard to the limits: PolicySettings(final_std=None), or --final-std None"
            )
