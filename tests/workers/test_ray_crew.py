"""A private Ray that has ended: every use of it is an error, because Ray itself would end this process."""

import subprocess

import psutil
import pytest

from tf_trpo.environments.failures import WorkersLostError
from tf_trpo.workers.ray_crew import RayCrew


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("share", ([1.0],)),
        ("fetch", ("reference",)),
        ("call", (0, "call", "weights")),
        ("compute", (0, None, 1)),
        ("wait", (["call"], 0.0)),
        ("result", ("call",)),
    ],
)
def test_every_use_of_a_ray_that_has_ended_is_an_error(method, arguments):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as server:
        crew = object.__new__(RayCrew)
        crew._servers = [psutil.Process(server.pid)]
        assert not crew._has_ended()
    with pytest.raises(WorkersLostError, match="the Ray that this process started has ended"):
        getattr(crew, method)(*arguments)
