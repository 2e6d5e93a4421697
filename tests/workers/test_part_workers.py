"""Parts of an update on simulated workers, some of which are lost, slow, new or compute other bits."""

from collections import Counter

import numpy as np
import pytest

from tf_trpo.optimizers.parts import Given, Request
from tf_trpo.workers import part_workers
from tf_trpo.workers.crew import WorkerLostError
from tf_trpo.workers.part_workers import PartWorkers

HOME = "home"


class Simulation:
    """Workers in simulated time. The result of a part is its number, and a call takes `seconds(worker)`.

    Attributes:
      now: the time in seconds.
      made: (worker, part) of each call, including the calls that check a worker. HOME is the process that learns.
      wrong: workers whose results are wrong.
      errors: by worker, the error that its calls raise.
      handed: bytes of all results.
      starts: by worker, how many processes it has had, as far as the workers of the update must know.
    """

    def __init__(self, size, seconds=lambda worker: 0.1, seed=0):
        self.size, self.seconds, self.rng = size, seconds, np.random.default_rng(seed)
        self.now, self.made, self.wrong = 0.0, [], set()
        self.errors, self.handed = {}, 0
        self.ends, self.lost, self.starts = {}, {}, Counter()

    def clock(self):
        return self.now

    def share(self, value):
        return value

    def fetch(self, reference):
        return reference

    def compute(self, worker, request, threads):
        self.made.append((worker, None if request is None else request.rows.key))
        pending = object()
        first = max([end for end, other, _ in self.ends.values() if other == worker], default=self.now)
        self.ends[pending] = (max(first, self.now) + self.seconds(worker), worker, request)
        return pending

    def lose(self, worker, at):
        """Kill a worker at a given time; its unfinished calls are lost."""
        self.lost[worker] = at

    def wait(self, pending, timeout):
        pending = [pending[place] for place in self.rng.permutation(len(pending))]
        end, first = min((min(self.ends[each][0], self._death(each)), i) for i, each in enumerate(pending))
        self.now = min(max(end, self.now), self.now + timeout)
        return [pending[first]] if end <= self.now else []

    def _death(self, pending):
        end, worker, _ = self.ends[pending]
        return self.lost[worker] if self.lost.get(worker, np.inf) <= end else np.inf

    def result(self, pending):
        if self._death(pending) <= self.now:
            _, worker, _ = self.ends.pop(pending)
            if worker not in {other for _, other, _ in self.ends.values()}:
                del self.lost[worker]
            raise WorkerLostError("lost")
        _, worker, request = self.ends.pop(pending)
        if worker in self.errors:
            raise self.errors[worker]
        found = [] if request is None else result(request, worker in self.wrong)
        self.handed += sum(array.nbytes for array in found)
        return found


def result(request, wrong=False):
    return [np.array([request.rows.key + wrong, len(request.name)])]


@pytest.fixture
def play(monkeypatch):
    """play(workers, crew, count): compute one round of `count` parts, and check the results."""

    class Home:
        def __init__(self, fetch):
            pass

        def compute(self, requests):
            self.made.extend((HOME, request.rows.key) for request in requests)
            return list(map(result, requests))

    monkeypatch.setattr(part_workers, "Home", Home)

    def round_of(workers, crew, count, name="figures", first=0):
        Home.made = crew.made
        given, places = Given(0, None), range(first, first + count)
        found = workers.compute([Request(given, given, given, Given(place, None), name) for place in places])
        assert [[array.tolist() for array in each] for each in found] == [[[place, len(name)]] for place in places]
        assert workers.received == crew.handed

    return round_of


def calls(crew):
    """Return the calls since the last time, sorted, and forget them."""
    made, crew.made = crew.made, []
    return sorted(made, key=str)


def test_parts_stay_with_their_workers_and_workers_are_checked_once(play):
    crew = Simulation(3)
    workers = PartWorkers(crew, clock=crew.clock)
    play(workers, crew, 7)
    share = [(place % 3, place) for place in range(7)]
    assert calls(crew) == sorted([*share, (0, 0), (1, 0), (2, 0), (HOME, 0)], key=str)
    for _ in range(3):
        play(workers, crew, 7)
        assert calls(crew) == sorted(share, key=str)


def test_other_workers_compute_the_parts_of_a_lost_worker_until_it_restarts(play, caplog):
    crew = Simulation(2)
    workers = PartWorkers(crew, clock=crew.clock)
    play(workers, crew, 6)
    crew.made = []
    crew.lose(1, crew.now + 0.15)
    play(workers, crew, 6)
    # The lost worker had already computed part 1.
    assert [place for worker, place in calls(crew) if worker == 0] == [0, 2, 3, 4, 5]
    assert "worker 1 was lost (lost): others compute its parts of the batch" in caplog.text
    while (1, 1) not in crew.made:
        crew.made = []
        play(workers, crew, 6)
    assert crew.now < 5


def test_this_process_computes_all_parts_if_all_workers_are_lost(play):
    crew = Simulation(2)
    workers = PartWorkers(crew, clock=crew.clock)
    play(workers, crew, 4)
    crew.made = []
    for worker in range(2):
        crew.lose(worker, crew.now + 0.05)
    play(workers, crew, 4)
    assert [place for worker, place in calls(crew) if worker == HOME] == [0, 1, 2, 3]


@pytest.mark.parametrize("helper", [1, HOME])
def test_an_idle_worker_or_this_process_helps_a_slow_one(play, helper):
    slow = set()
    crew = Simulation(2, seconds=lambda worker: 1e6 if worker in slow else 0.5)
    workers = PartWorkers(crew, clock=crew.clock)
    for _ in range(2):
        play(workers, crew, 4)
    slow |= {0, 1} if helper == HOME else {0}
    crew.made, began = [], crew.now
    play(workers, crew, 4)
    # A usual round takes one second; help begins after three.
    assert crew.now - began < 3 + 4 * 0.5
    made = calls(crew)
    assert {place for worker, place in made if worker in (helper, HOME)} >= {0, 2}
    assert (helper, 0) in made
    # A worker that has not answered yet gets no more calls.
    play(workers, crew, 4)
    assert slow.isdisjoint(worker for worker, _ in calls(crew))


def test_the_wait_for_a_worker_that_does_not_start_is_limited(play):
    crew = Simulation(2, seconds=lambda worker: 1e6 if worker else 0.1)
    workers = PartWorkers(crew, clock=crew.clock)
    play(workers, crew, 4)
    assert crew.now < 3
    assert {(0, 1), (0, 3)} <= set(crew.made)


def test_no_round_waits_for_a_worker_that_is_back_and_loads_tensorflow(play):
    loading = set()
    crew = Simulation(2, seconds=lambda worker: 30.0 if worker in loading else 0.1)
    workers = PartWorkers(crew, clock=crew.clock)
    play(workers, crew, 4)
    crew.lose(1, crew.now + 0.05)
    play(workers, crew, 4)
    loading.add(1)
    crew.made, durations = [], []
    while (1, 1) not in crew.made:
        crew.made, began = [], crew.now
        play(workers, crew, 4)
        durations.append(crew.now - began)
    # In the last round, this process helped.
    assert max(durations) < 2
    # The worker answered that it is back, and was checked.
    assert 60 < crew.now < 63


def test_a_worker_that_is_back_is_checked_with_rows_that_have_actions(play):
    crew = Simulation(2)
    workers = PartWorkers(crew, clock=crew.clock)
    play(workers, crew, 4)
    crew.lose(1, crew.now + 0.05)
    # Products may use other rows, which are only observations and weights.
    play(workers, crew, 4, "product gauss-newton", first=100)
    crew.made = []
    while (1, 101) not in crew.made:
        play(workers, crew, 4, "product gauss-newton", first=100)
    assert (1, 0) in crew.made
    assert (1, 100) not in crew.made


@pytest.mark.parametrize("late", [False, True])
def test_a_worker_that_raises_an_error_is_not_used_any_more(play, late, caplog):
    crew = Simulation(2)
    workers = PartWorkers(crew, clock=crew.clock)
    if late:
        play(workers, crew, 4)
    crew.errors[1] = ImportError("No module named 'tensorflow'")
    play(workers, crew, 4)
    crew.made = []
    play(workers, crew, 4)
    assert calls(crew) == [(0, place) for place in range(4)]
    message = "worker 1 is not used for the update any more (ImportError: No module named 'tensorflow')"
    assert caplog.text.count(message) == 1


@pytest.mark.parametrize("allowed", [False, True])
def test_workers_with_other_bits_are_not_used_or_cause_a_warning(play, allowed, caplog):
    crew = Simulation(2)
    crew.wrong = {1}
    workers = PartWorkers(crew, allow_different=allowed, clock=crew.clock)
    if allowed:
        with pytest.raises(AssertionError):
            play(workers, crew, 4)
        assert "it is allowed, and the results agree with those of one process up to rounding" in caplog.text
        return
    for _ in range(2):
        play(workers, crew, 4)
    assert "worker 1 does not compute gradients as this process does, and is not used for the update" in caplog.text
    assert [worker for worker, _ in calls(crew)].count(1) == 1


def test_the_next_process_of_a_checked_worker_is_checked_too(play, caplog):
    crew = Simulation(2)
    workers = PartWorkers(crew, clock=crew.clock)
    play(workers, crew, 4)
    # Between two updates, worker 1 gets another process, on a machine that computes other bits.
    crew.starts[1] += 1
    crew.wrong = {1}
    for _ in range(2):
        play(workers, crew, 4)
    assert "worker 1 does not compute gradients as this process does, and is not used for the update" in caplog.text
