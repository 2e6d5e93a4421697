"""Actions from JSON are converted to those of a space, or refused."""

import numpy as np
import pytest
from gymnasium import spaces

from tf_trpo.environments.fitting import fitting_actions

NESTED = spaces.Dict(
    arm=spaces.Tuple([spaces.Box(-1, 1, (2,)), spaces.MultiBinary(2)]),
    gear=spaces.Discrete(3, start=1),
)


def nested(box=(0.1, -1.0), bits=(0, 1), gear=3):
    return {"arm": (np.array([box]), np.array([bits])), "gear": np.array([gear])}


def test_every_part_gets_the_dtype_of_its_space():
    found = fitting_actions(nested(), NESTED)
    box, bits = found["arm"]
    assert (box.dtype, bits.dtype, found["gear"].dtype) == (np.float32, np.int8, np.int64)
    np.testing.assert_array_equal(box, np.float32([[0.1, -1]]))
    assert (bits.tolist(), found["gear"].tolist()) == ([[0, 1]], [3])


REFUSED = {
    "outside of a bound": nested(box=(1.5, 0.0)),
    "no such choice": nested(gear=0),
    "another type": nested(gear=2.0),
    "wraps around": nested(bits=(256, 1)),
    "infinite": nested(box=(np.inf, 0.0)),
    "another shape": nested(bits=(1, 0, 1)),
    "a lone array": np.zeros((1, 2)),
    "a part missing": {"gear": np.array([1])},
    "another name": {"arms": nested()["arm"], "gear": np.array([1])},
    "two rows": {"arm": tuple(np.repeat(part, 2, axis=0) for part in nested()["arm"]), "gear": np.array([1, 2])},
}


@pytest.mark.parametrize("actions", REFUSED.values(), ids=REFUSED)
def test_actions_outside_of_the_space_are_refused(actions):
    with pytest.raises(ValueError, match=r"the action .* does not lie in the environment's Dict"):
        fitting_actions(actions, NESTED)
