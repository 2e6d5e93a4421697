"""Updates in parts equal ordinary updates up to rounding; their bits do not depend on the processes."""

import pickle
from collections import Counter

import numpy as np
import pytest

from tf_trpo.demonstrations import record
from tf_trpo.learning import parted_learner
from tf_trpo.learning.parted_learner import in_parts
from tf_trpo.optimizers import (
    AdaptiveRadius,
    ClippedSurrogate,
    DemonstrationBonus,
    EntropyBonus,
    KLPenalty,
    NaturalDirection,
    NaturalPolicyGradient,
    TrustRegion,
    VanillaPolicyGradient,
)
from tf_trpo.workers import PartWorkers
from tf_trpo.workers.crew import WorkerLostError
from tf_trpo.workers.worker import ShardWorker

ENVS, STEPS = 4, 64


class Shuffled:
    """Workers in this process. Calls end in random order; some workers are lost, and some calls are computed twice.

    All arguments and results are pickled, as they would be for another process.
    """

    def __init__(self, size, seed, losses):
        self.size, self.losses, self.rng = size, losses, np.random.default_rng(seed)
        self.workers = [ShardWorker(pickle.loads) for _ in range(size)]
        self.lost = self.functions = 0
        self.starts = Counter()

    def share(self, value):
        self.functions += len(value) if isinstance(value, bytes) else 0
        return pickle.dumps(value)

    def fetch(self, reference):
        return pickle.loads(reference)

    def compute(self, worker, request, threads):
        return worker, pickle.dumps(request), object()

    def wait(self, pending, timeout):
        return [pending[self.rng.integers(len(pending))]]

    def result(self, pending):
        worker, request, _ = pending
        if self.rng.random() < self.losses:
            self.lost += 1
            self.workers[worker] = ShardWorker(pickle.loads)
            raise WorkerLostError("lost")
        for _ in range(self.rng.integers(1, 3)):
            found = self.workers[worker].compute(pickle.loads(request), 1)
        return pickle.loads(pickle.dumps(found))


def fit(agent, environment="CartPole-v1", iterations=2, **options):
    steps = iterations * ENVS * STEPS
    return agent.fit(
        environment, steps - 20 * iterations, num_envs=ENVS, num_steps=STEPS, seed=3, verbose=0, **options
    ).history


def test_workers_give_the_bits_of_one_process_and_the_step_of_an_ordinary_update(
    borrow_agent, variables_of, assert_same_weights
):
    direction = NaturalDirection(curvature_fraction=0.3)
    optimizer = TrustRegion(constraint="max", entropy=EntropyBonus(0.01), direction=direction)
    agents = [borrow_agent("CartPole-v1", optimizer) for _ in range(3)]
    ordinary = fit(agents[0])
    here = fit(agents[1], update_parts=5)
    crew = Shuffled(2, seed=0, losses=0.03)
    in_parts(agents[2].learner, 5).work_with(PartWorkers(crew, clock=lambda: 0.0))
    there = fit(agents[2], update_parts=5)
    assert crew.lost > 0
    assert_same_weights(variables_of(agents[1]), variables_of(agents[2]))
    for name in here.keys() - {"time/time_elapsed", "time/fps", "time/update_bytes_sent", "time/update_bytes_received"}:
        assert here[name] == there[name], name
    for name in ("train/kl_divergence_loss", "train/gradient_norm", "train/entropy", "train/max_kl_over_states"):
        np.testing.assert_allclose(here[name], ordinary[name], rtol=1e-3, err_msg=name)
    # After two updates, the weights are still equal up to rounding.
    for one, other in zip(variables_of(agents[0]), variables_of(agents[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    check_traffic(agents[2], there, crew.functions)
    # After a fit with parts, a fit without them is ordinary.
    assert not [name for name in fit(agents[2], iterations=1) if "update_" in name]


def check_traffic(agent, history, functions, parts=5):
    """Check rounds and bytes: functions, weights, rows once; a vector for each product and candidate; a coefficient."""
    products, searched = np.array(history["train/cg_iterations"]), 1 + np.array(history["train/backtracks"])
    # Rounds: the old policy, two gradients, the products, the largest KL of the full step, and the line search.
    assert history["time/update_rounds"] == (3 + products + 1 + searched).tolist()
    weights = sum(variable.numpy().nbytes for variable in agent.policy.variables)
    rows = -(-ENVS * STEPS // parts) * parts * (4 * 4 + 4 + 4 + 4)
    # Samples of the curvature: observations and weights.
    rows += -(-round(0.3 * ENVS * STEPS) // parts) * parts * (4 * 4 + 4)
    vectors = 4 * agent.policy.flat_weights.shape[0] * (products + 1 + searched)
    first = functions * (np.arange(len(products)) == 0)
    assert history["time/update_bytes_sent"] == (first + weights + rows + vectors + 8).tolist()


def test_a_further_fit_traces_nothing_again_and_keeps_no_rows(
    make_agent, variables_of, assert_same_weights, monkeypatch
):
    saved, save = [], parted_learner.saved_functions
    monkeypatch.setattr(parted_learner, "saved_functions", lambda *given: saved.append(1) or save(*given))
    agent = make_agent("CartPole-v1", VanillaPolicyGradient("sgd"), value_epochs=0)
    start, found = agent.learner.state(), []
    for _ in range(2):
        agent.learner.restore(start)
        agent.env_steps.assign(0)
        agent.iterations.assign(0)
        agent.fit("CartPole-v1", 16, num_steps=16, verbose=0, update_parts=2)
        found.append(variables_of(agent))
        learner = agent.learner.parted[2]
        assert learner._report_step.experimental_get_tracing_count() == 1
        assert not learner._home._computer._rows
    assert_same_weights(*found)
    assert len(saved) == 1
    agent.fit("CartPole-v1", 8, num_steps=8, verbose=0, update_parts=2)
    assert len(saved) == 2


def test_an_algorithm_with_minibatches_is_refused_before_the_first_rollout(make_agent, scripted):
    agent = make_agent(scripted, ClippedSurrogate())
    with pytest.raises(ValueError, match="update_parts must be None with ClippedSurrogate: its step needs minibatches"):
        fit(agent, scripted, update_parts=2)
    assert not any(environment.acted_on for environment in scripted.made)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "environment", "policy"),
    [
        (NaturalPolicyGradient(), "CartPole-v1", {}),
        (KLPenalty(), "Pendulum-v1", {}),
        (KLPenalty(penalty="theory"), "CartPole-v1", {}),
        (VanillaPolicyGradient(), "CartPole-v1", {}),
        (TrustRegion(imitation=DemonstrationBonus(0.5)), "CartPole-v1", {}),
        (TrustRegion(radius=AdaptiveRadius()), "Pendulum-v1", {"memory": "gru", "memory_units": 5}),
        (TrustRegion(direction=NaturalDirection(preconditioner_rank=8)), "CartPole-v1", {}),
        (TrustRegion(direction=NaturalDirection(curvature_fraction=0.3)), "CartPole-v1", {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_supported_algorithms_take_the_steps_of_ordinary_updates(optimizer, environment, policy, make_agent):
    histories = []
    for parts in (None, 3):
        agent = make_agent(environment, optimizer, policy=policy)
        if optimizer.imitates:
            agent.imitate(record(lambda observation: 0, environment, 3))
        histories.append(fit(agent, environment, update_parts=parts))
    assert agent.learner.parted[3]._report_step.experimental_get_tracing_count() == 1
    for name in ("train/kl_divergence_loss", "train/gradient_norm", "train/entropy", "train/step_norm"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=2e-3, err_msg=name)
