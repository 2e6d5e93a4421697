"""The scheduler with simulated workers, some of which are lost, slow or start late."""

import numpy as np
import pytest

from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.workers.crew import WorkerLostError
from tf_trpo.workers.rounds import Round
from tf_trpo.workers.scheduling import Scheduler
from tf_trpo.workers.worker import Answer, Call

ALIKE = {"python": "3"}


class Simulation:
    """Workers in simulated time. Each keeps the shards that it has played, and a call takes `seconds(worker, shard)`.

    Attributes:
      now: the time in seconds.
      made: (worker, shard, whether a state was given) of each call, in order.
    """

    def __init__(self, size, seconds=lambda worker, shard: 1.0, start=lambda worker: 0.5, replays=True):
        self.size, self.seconds, self.start_seconds, self.replays = size, seconds, start, replays
        self.now, self.made, self.dismissed = 0.0, [], []
        self.has = [set() for _ in range(size)]
        self.ends = {}
        self.lost = {}
        self.fingerprints = dict.fromkeys(range(size), ALIKE)

    def clock(self):
        return self.now

    def start(self, worker):
        self.has[worker] = set()
        return self._pending(self.start_seconds(worker), worker, self.fingerprints[worker])

    def dismiss(self, worker):
        self.dismissed.append(worker)

    def call(self, worker, call, shared, *, state, begin, kept):
        self.made.append((worker, call.shard, state is not None))
        here = call.at is None or call.shard in self.has[worker]
        if here or (state is not None and (self.replays or begin)):
            # Really, the worker has the shard only after its answer, but no test looks earlier.
            self.has[worker].add(call.shard)
            answer = Answer((worker, call.shard, shared), exact=here or self.replays)
            return self._pending(self.seconds(worker, call.shard), worker, answer)
        return self._pending(0.001, worker, Answer(found=False, exact=state is None))

    def _pending(self, seconds, worker, result):
        pending = object()
        self.ends[pending] = (self.now + seconds, worker, result)
        return pending

    def lose(self, worker, at):
        """Kill a worker at a given time; its unfinished calls are lost."""
        self.lost[worker] = at

    def wait(self, pending, timeout):
        end, first = min((self._end(each), i) for i, each in enumerate(pending))
        self.now = min(max(end, self.now), self.now + timeout)
        return [pending[first]] if end <= self.now else []

    def _end(self, pending):
        end, worker, _ = self.ends[pending]
        at = self.lost.get(worker, np.inf)
        return at if at <= end else end

    def result(self, pending):
        end, worker, result = self.ends.pop(pending)
        if self.lost.get(worker, np.inf) <= end:
            del self.lost[worker]
            raise WorkerLostError("lost")
        return result


def scheduler(crew, check=lambda worker, fingerprint: None):
    return Scheduler(crew, check, clock=crew.clock)


def calls(count, at=b"there"):
    return [Call(shard, "find", (), at) for shard in range(count)]


def play(of, count, at=b"there", **options):
    answers = of.play(calls(count, at), lambda shard: {"shard": shard}, "weights", **options)
    assert [answer.value[1:] for answer in answers] == [(shard, "weights") for shard in range(count)]
    return [answer.value[0] for answer in answers]


def test_shards_are_divided_evenly_and_stay_with_their_workers():
    crew = Simulation(3)
    of = scheduler(crew)
    first = play(of, 8, at=None)
    assert sorted(np.bincount(first)) == [2, 3, 3]
    crew.made.clear()
    for _ in range(3):
        assert play(of, 8) == first
    # Each call went to the worker that has the shard, so no state was sent.
    assert len(crew.made) == 24
    assert not any(given for _, _, given in crew.made)


def test_others_do_the_work_of_a_lost_worker_until_it_restarts():
    crew = Simulation(2, start=lambda worker: 0.5 if crew.now < 1 else 10.0)
    of = scheduler(crew)
    assert sorted(play(of, 4, at=None)) == [0, 0, 1, 1]
    crew.lose(1, at=crew.now + 0.3)
    began = crew.now
    assert play(of, 4) == [0] * 4
    # The other worker made the lost worker's calls after its own two.
    assert 4.0 <= crew.now - began < 4.5
    while crew.now < 15:
        last = play(of, 4)
    assert sorted(last) == [0, 0, 1, 1]


def test_a_round_waits_if_all_workers_are_lost():
    crew = Simulation(2)
    of = scheduler(crew)
    play(of, 2, at=None)
    for worker in range(2):
        crew.lose(worker, at=crew.now + 0.2)
    assert sorted(play(of, 2)) == [0, 1]


def test_a_slow_or_stopped_worker_gets_help_and_the_first_answer_counts():
    slow = set()
    crew = Simulation(3, seconds=lambda worker, shard: 1e6 if worker in slow else 0.9)
    of = scheduler(crew)
    play(of, 6, at=None)
    slow.add(1)
    began = crew.now
    assert 1 not in play(of, 6)
    # Two calls of each worker, three usual durations until help begins, and the two calls of the slow worker.
    assert crew.now - began < 2 * 0.9 + 3 * 0.9 + 2 * 0.9
    # A worker gets no other call while it is still at one.
    crew.made.clear()
    play(of, 6)
    assert 1 not in {worker for worker, _, _ in crew.made}


def test_a_worker_is_not_slow_if_its_calls_take_less_than_a_second():
    crew = Simulation(2, seconds=lambda worker, shard: 0.8 if worker else 0.01)
    of = scheduler(crew)
    for _ in range(3):
        crew.made.clear()
        play(of, 2, at=None)
        assert len(crew.made) == 2


def test_a_second_worker_that_cannot_replay_leaves_the_episodes_to_the_first_worker():
    slow = set()
    crew = Simulation(2, seconds=lambda worker, shard: 50.0 if worker in slow else 1.0, replays=False)
    of = scheduler(crew)
    first = play(of, 2, at=None)
    slow.add(1)
    answers = of.play(calls(2), lambda shard: {}, "weights")
    assert [answer.value[0] for answer in answers] == first
    assert all(answer.exact for answer in answers)
    # With move=False, no second worker is tried.
    crew.made.clear()
    of.play(calls(2), lambda shard: {}, "weights", move=False)
    assert len(crew.made) == 2


def test_new_episodes_begin_if_a_lost_workers_episodes_cannot_be_replayed():
    crew = Simulation(2, replays=False)
    of = scheduler(crew)
    first = play(of, 2, at=None)
    crew.lose(0, at=crew.now + 0.5)
    answers = of.play(calls(2), lambda shard: {}, "weights")
    assert [answer.exact for answer in answers] == [worker == 1 for worker in first]


def test_environments_that_kill_every_worker_have_failed():
    crew = Simulation(2)
    of = scheduler(crew)
    play(of, 2, at=None)
    of._check = lambda worker, fingerprint: crew.lose(worker, at=crew.now + 0.1)
    for worker in range(2):
        crew.lose(worker, at=crew.now + 0.1)
    answers = of.play(calls(2), lambda shard: {}, "weights")
    assert all(isinstance(answer.error, EnvironmentFailedError) for answer in answers)
    assert "5 workers died one after the other" in str(answers[0].error)


def test_unusable_workers_are_refused_at_the_start_and_dismissed_later(caplog):
    crew = Simulation(2)
    crew.fingerprints[1] = {"python": "2"}

    def check(worker, fingerprint):
        return None if fingerprint == ALIKE else f"worker {worker} has {fingerprint['python']}"

    with pytest.raises(ValueError, match="worker 1 has 2"):
        scheduler(crew, check)
    crew = Simulation(2)
    of = scheduler(crew, check)
    play(of, 2, at=None)
    for worker in range(2):
        # A worker restarts on a different machine.
        crew.fingerprints[worker] = {"python": "4"}
        crew.lose(worker, at=crew.now + 0.1)
    with pytest.raises(EnvironmentFailedError, match="no worker is left"):
        play(of, 2)
    assert sorted(crew.dismissed) == [0, 1]
    assert "worker 1 is not used: worker 1 has 4" in caplog.text


def test_work_begins_without_late_workers(caplog):
    crew = Simulation(3, start=lambda worker: 100.0 if worker == 2 else 1.0)
    of = scheduler(crew)
    assert 30 < crew.now < 40
    assert "2 of 3 workers have started" in caplog.text
    assert sorted(play(of, 4, at=None)) == [0, 0, 1, 1]
    while crew.now < 110:
        last = play(of, 4)
    assert 2 in last


class Broken(Simulation):
    """Workers, of which some are lost whenever they start."""

    broken = ()

    def start(self, worker):
        if worker in self.broken:
            self.lose(worker, at=self.now + 0.1)
        return super().start(worker)


def test_workers_that_are_lost_at_eight_consecutive_starts_are_dismissed(caplog):
    crew = Broken(2)
    crew.broken = (1,)
    of = scheduler(crew)
    assert play(of, 2, at=None) == [0, 0]
    assert crew.dismissed == [1]
    message = "it was lost 8 times while it started, when it makes and plays the environment (lost)"
    assert f"worker 1 is not used: {message}" in caplog.text
    # A single failed start is not enough.
    crew.lose(0, at=crew.now + 0.1)
    crew.broken = ()
    assert play(of, 2) == [0, 0]
    crew.broken = (0,)
    crew.lose(0, at=crew.now + 0.1)
    with pytest.raises(EnvironmentFailedError, match="no worker is left: worker 0 is not used: it was lost 8 times"):
        play(of, 2)


def test_a_run_without_workers_warns_and_then_fails(caplog):
    crew = Simulation(2, start=lambda worker: 1e9)
    with pytest.raises(EnvironmentFailedError, match="no worker has started in 900 seconds: each needs a free core"):
        scheduler(crew)
    assert 900 < crew.now < 901
    assert caplog.text.count("no worker has started in 20 seconds") == 1
    # The same if all are lost later.
    crew = Simulation(1, start=lambda worker: 0.5 if crew.now < 1 else 30.0 if crew.now < 100 else 1e9)
    of = scheduler(crew)
    play(of, 2, at=None)
    crew.lose(0, at=crew.now + 0.1)
    caplog.clear()
    play(of, 2)
    assert "no worker has started in 20 seconds" in caplog.text
    crew.now = 100.0
    crew.lose(0, at=crew.now + 0.1)
    with pytest.raises(EnvironmentFailedError, match="no worker has started"):
        play(of, 2)


def test_a_later_worker_that_raises_at_its_start_is_dismissed_with_a_warning(caplog):
    crew = Simulation(2)
    of = scheduler(crew)
    play(of, 2, at=None)
    take = crew.result
    crew.lose(1, at=crew.now + 0.1)
    error = ValueError("no licence\non this machine")

    def result(pending):
        found = take(pending)
        if found is ALIKE:
            raise error
        return found

    crew.result = result
    for _ in range(3):
        last = play(of, 2)
    assert last == [0, 0]
    assert crew.dismissed == [1]
    assert "worker 1 is not used: it cannot start: no licence on this machine" in caplog.text
    # At the beginning of a run, the error ends the run.
    crew = Simulation(1)
    take, crew.result = crew.result, result
    with pytest.raises(ValueError, match="no licence"):
        scheduler(crew)


def test_slowness_is_measured_by_the_last_round():
    slow = set()
    crew = Simulation(3, seconds=lambda worker, shard: 1e6 if worker in slow else 0.9)
    of = scheduler(crew)
    slow |= {*play(of, 2, at=None)}
    began = crew.now
    (idle,) = {0, 1, 2} - slow
    # Both workers with environments are slow, and none has answered in this round.
    assert play(of, 2) == [idle, idle]
    assert crew.now - began < 3 * 0.9 + 2 * 0.9 + 0.5


def test_a_worker_is_asked_for_work_about_once_for_each_call(monkeypatch):
    asked, look = [], Round.next_for
    monkeypatch.setattr(Round, "next_for", lambda self, worker: asked.append(worker) or look(self, worker))
    crew = Simulation(150, seconds=lambda worker, shard: 0.2 + worker / 300)
    of = scheduler(crew)
    play(of, 300, at=None)
    asked.clear()
    play(of, 300)
    assert len(asked) < 5 * 300


@pytest.mark.parametrize("seed", range(30))
def test_every_call_is_answered_once_whatever_workers_do(seed):
    rng = np.random.default_rng(seed)
    crew = Simulation(
        int(rng.integers(1, 5)),
        seconds=lambda worker, shard: float(rng.choice([0.01, 0.5, 2.0, 9.0])),
        start=lambda worker: float(rng.choice([0.1, 3.0, 40.0])),
    )
    of = scheduler(crew)
    count = int(rng.integers(1, 9))
    play(of, count, at=None)
    for _ in range(6):
        for worker in rng.permutation(crew.size)[: rng.integers(0, crew.size + 1)].tolist():
            crew.lose(worker, at=crew.now + float(rng.uniform(0, 3)))
        play(of, count)
        crew.lost.clear()
