"""What an algorithm is used for, and whether the policy that is used is the one that its limits are about."""

from __future__ import annotations

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
