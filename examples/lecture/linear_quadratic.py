"""The lecture's example of a problem of the policy gradient: one state, one action, theta = (k, sigma)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclasses.dataclass(frozen=True)
class LinearQuadratic:
    """A problem with reward -s^2 - a^2, linear dynamics and a Gaussian policy, solved in closed form.

        s_0 ~ N(0, initial_std^2),   a ~ N(k s, sigma^2),   s' = A s + B a + noise_std * N(0, 1)

    The slide gives the reward and the policy; the dynamics are those of scalar linear-quadratic regulation. With the
    closed loop c = A + B k, the second moments m_t = E[s_t^2] obey m_{t+1} = c^2 m_t + B^2 sigma^2 + noise_std^2, so
    that M = sum_t gamma^t m_t = (m_0 + gamma / (1 - gamma) (B^2 sigma^2 + noise_std^2)) / (1 - gamma c^2) and

        J(k, sigma) = -(1 + k^2) M - sigma^2 / (1 - gamma).

    The formulas are valid if gamma c^2 < 1 and sigma > 0. Otherwise J is minus infinity.

    Attributes:
      state_gain: A.
      action_gain: B, not 0.
      noise_std: standard deviation of the process noise, >= 0.
      initial_std: standard deviation of the initial state, >= 0, and > 0 if noise_std is 0.
      gamma: discount, in (0, 1).

    Raises:
      ValueError: an attribute is outside its range.

    Source:
      Lecture, "There is something wrong with the policy gradient"; Peters and Schaal (2008), figure 1.
    """

    state_gain: float = 1.0
    action_gain: float = 1.0
    noise_std: float = 0.0
    initial_std: float = 0.1
    gamma: float = 0.95

    def __post_init__(self) -> None:
        if self.action_gain == 0:
            raise ValueError("action_gain must not be 0")
        if not (self.noise_std >= 0 and self.initial_std >= 0 and self.noise_std + self.initial_std > 0):
            raise ValueError("noise_std and initial_std must not be negative, and not both 0")
        if not 0 < self.gamma < 1:
            raise ValueError(f"gamma must lie between 0 and 1, got {self.gamma}")

    def is_valid(self, theta: ArrayLike) -> NDArray[np.bool_]:
        """Return whether J is finite and the policy has a density: gamma (A + B k)^2 < 1 and sigma > 0.

        Args:
          theta: (k, sigma) along the last axis, [..., 2].

        Returns:
          bool [...].
        """
        k, sigma = _split(theta)
        return (self.gamma * self._closed_loop(k) ** 2 < 1) & (sigma > 0)

    def stable_gains(self) -> tuple[float, float]:
        """Return the open interval of k in which gamma (A + B k)^2 < 1."""
        bounds = [(sign / np.sqrt(self.gamma) - self.state_gain) / self.action_gain for sign in (-1, 1)]
        return float(min(bounds)), float(max(bounds))

    def optimal_gain(self) -> float:
        """Compute the k that maximises J for every sigma: the gain of discounted linear-quadratic regulation.

        dJ/dk = 0 is gamma A B k^2 - (1 - gamma A^2 + gamma B^2) k - gamma A B = 0. The stable root is the one whose
        sign is opposite to A B. J decreases with sigma, so its supremum is at this k and sigma = 0.
        """
        half = 0.5 * (1.0 - self.gamma * self.state_gain**2 + self.gamma * self.action_gain**2)
        product = self.gamma * self.state_gain * self.action_gain
        root = np.hypot(half, product)
        # The formula for the root that does not subtract nearly equal numbers.
        return float(-product / (half + root) if half >= 0 else (half - root) / product)

    def objective(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Compute J(theta) [...], the expected discounted return; minus infinity outside the valid region."""
        k, sigma = _split(theta)
        valid = self.is_valid(theta)
        moment = self._discounted_moment(np.where(valid, k, self.optimal_gain()), sigma)
        return np.where(valid, -(1.0 + k**2) * moment - sigma**2 / (1.0 - self.gamma), -np.inf)

    def gradient(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Compute the gradient dJ/d(k, sigma), [..., 2].

        Args:
          theta: (k, sigma) along the last axis, [..., 2].

        Raises:
          ValueError: a theta is outside the valid region.

        Source:
          Lecture, "g = grad_theta J(pi_theta)".
        """
        k, sigma = self._valid(theta)
        loop, moment = self._closed_loop(k), self._discounted_moment(k, sigma)
        stability = 1.0 - self.gamma * loop**2
        moment_k = 2.0 * self.gamma * self.action_gain * loop * moment / stability
        moment_sigma = 2.0 * self.gamma / (1.0 - self.gamma) * self.action_gain**2 * sigma / stability
        gradient_k = -2.0 * k * moment - (1.0 + k**2) * moment_k
        gradient_sigma = -(1.0 + k**2) * moment_sigma - 2.0 * sigma / (1.0 - self.gamma)
        return np.stack([gradient_k, gradient_sigma], axis=-1)

    def fisher(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Compute the Fisher matrix E[grad log pi grad log pi'], [..., 2, 2].

        The expectation is over the normalised discounted state distribution. The matrix is
        diag((1 - gamma) M / sigma^2, 2 / sigma^2): the larger the states, the more k changes the policy, and the
        smaller sigma, the more k and sigma change it.

        Arguments and errors are as in `gradient`.

        Source:
          Kakade (2001); lecture, "F = d^2 / d theta^2 of the mean KL".
        """
        k, sigma = self._valid(theta)
        mean_square = (1.0 - self.gamma) * self._discounted_moment(k, sigma)
        diagonal = np.stack([mean_square, np.full_like(mean_square, 2.0)], axis=-1) / sigma[..., None] ** 2
        return diagonal[..., None] * np.eye(2)

    def natural_gradient(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Compute the natural gradient F^-1 g, [..., 2].

        Arguments and errors are as in `gradient`.

        Source:
          Lecture, "theta <- theta + alpha F^-1 grad_theta J(theta)".
        """
        direction = np.linalg.solve(self.fisher(theta), self.gradient(theta)[..., None])[..., 0]
        return np.asarray(direction, np.float64)

    def _closed_loop(self, k: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.state_gain + self.action_gain * k

    def _discounted_moment(self, k: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute M = sum_t gamma^t E[s_t^2]."""
        disturbance = self.action_gain**2 * sigma**2 + self.noise_std**2
        driven = self.initial_std**2 + self.gamma / (1.0 - self.gamma) * disturbance
        return driven / (1.0 - self.gamma * self._closed_loop(k) ** 2)

    def _valid(self, theta: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not self.is_valid(theta).all():
            raise ValueError("theta = (k, sigma) must have gamma (A + B k)^2 < 1 and sigma > 0")
        return _split(theta)


def _split(theta: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    theta = np.asarray(theta, dtype=np.float64)
    if theta.ndim == 0 or theta.shape[-1] != 2:
        raise ValueError(f"theta must be [..., 2], got shape {theta.shape}")
    return theta[..., 0], theta[..., 1]
