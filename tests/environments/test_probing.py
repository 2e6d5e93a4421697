"""Random actions that masks allow, and fingerprints of nests."""

import numpy as np
import pytest
from gymnasium import spaces

from tf_trpo.environments.probing import fingerprint, random_action


@pytest.mark.parametrize(
    ("space", "mask"),
    [
        (spaces.Discrete(3, start=5), [0, 1, 1]),
        (spaces.MultiDiscrete([2, 3]), [1, 0, 0, 0, 1]),
        (spaces.MultiBinary(2), [0, 1, 1, 1]),
        (spaces.Discrete(2), [0, 0]),
    ],
)
def test_random_actions_are_allowed_by_the_mask(space, mask):
    rng, mask = np.random.default_rng(0), np.array(mask, np.int8)
    drawn = [random_action(space, mask, rng) for _ in range(100)]
    assert all(space.contains(action) for action in drawn)
    values = {tuple(np.ravel(action).tolist()) for action in drawn}
    expected = {
        "Discrete": {(6,), (7,)} if space.contains(5) else {(0,), (1,)},
        "MultiDiscrete": {(0, 2)},
        "MultiBinary": {(1, 0), (1, 1)},
    }
    assert values == expected[type(space).__name__]


def test_the_fingerprint_of_a_nest_depends_on_order_and_values():
    one = {"a": np.array([1.0, 2.0]), "b": (3, 4)}
    assert fingerprint(one) == fingerprint({"b": (3, 4), "a": np.array([1.0, 2.0])})
    assert fingerprint(one) != fingerprint({**one, "b": (4, 3)})
    assert fingerprint(0.0) != fingerprint(-0.0)
