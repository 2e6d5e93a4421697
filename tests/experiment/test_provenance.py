"""The record of what a run is made with."""

import gymnasium as gym
import pytest

from tf_trpo import Experiment
from tf_trpo.experiment.provenance import provenance


class OwnEnvironment(gym.Env):
    """Belongs to no distribution."""

    __module__ = "own_module"


@pytest.mark.parametrize(
    ("changes", "entry_point", "package"),
    [
        ({"env": "rich.games:Chess"}, None, "rich"),
        ({"wrapper": ("rich.wrappers:Colour(2)",)}, None, "rich"),
        ({"costs": ("rich.costs:price", "fuel")}, None, "rich"),
        ({"env": "Listed-v0"}, "rich.games:Chess", "rich"),
        ({"env": "some_module:Listed-v0"}, "rich.games:Chess", "rich"),
        ({"env": "Listed-v0"}, OwnEnvironment, None),
    ],
)
def test_the_packages_of_the_environment_and_its_wrappers_are_recorded(changes, entry_point, package, monkeypatch):
    if entry_point is not None:
        monkeypatch.setitem(gym.registry, "Listed-v0", gym.envs.registration.EnvSpec("Listed-v0", entry_point))
    plain = provenance(Experiment())["versions"]
    found = provenance(Experiment().replace(**changes))["versions"]
    assert found.keys() - plain.keys() == {package} - {None}
    assert all(found.values())


def test_the_machine_is_recorded():
    found = provenance(Experiment())
    assert found["threads"] >= 1
    assert found["processor"]
    assert found["gpus"] == []
