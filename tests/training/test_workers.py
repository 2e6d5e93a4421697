"""Trainings with Ray workers have the bits of trainings in one process, even if workers are lost or stopped."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import gymnasium as gym
import keras
import numpy as np
import psutil
import pytest
from gymnasium.vector import SyncVectorEnv

import tf_trpo
from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.models.settings import PolicySettings
from tf_trpo.workers import ray_crew, scheduling

ray = pytest.importorskip("ray")
ENVS, STEPS, ITERATIONS = 6, 16, 4


@pytest.fixture(scope="module")
def instance():
    """Start a Ray that trainings use but do not shut down; to start one takes ten seconds."""
    ray_crew._connect(ray, 3, None)
    yield
    assert ray.is_initialized(), "a training has ended a Ray that it had not started"
    ray.shutdown()
    assert all_gone()


def workers_here():
    children = psutil.Process().children(recursive=True)
    return sorted(child.pid for child in children if _name(child).startswith("ray::ShardWorker"))


def all_gone():
    """Wait up to ten seconds, and return whether no worker process is left."""
    deadline = time.monotonic() + 10
    while workers_here() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not workers_here()


def _name(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


class Each(keras.callbacks.Callback):
    """Calls a function with the number of an iteration before each iteration."""

    def __init__(self, function=lambda iteration: None):
        super().__init__()
        self.function = function

    def on_epoch_begin(self, epoch, logs=None):
        self.function(epoch)


def train(workers, environment="CartPole-v1", *, function=lambda iteration: None, policy=None, steps=STEPS, **options):
    """Train, and return the weights and the history."""
    callbacks, costs = options.pop("callbacks", ()), options.pop("costs", ())
    making = {name: options[name] for name in ("wrappers",) if name in options}
    agent = tf_trpo.TRPO.for_env(
        environment, seed=0, policy=policy or PolicySettings(hidden_sizes=(8,)), costs=costs, **making
    )
    agent.compile(jit_compile=False)
    history = agent.fit(
        environment,
        ITERATIONS * ENVS * steps - 60,
        **{"num_envs": ENVS, "shards": 3, "num_steps": steps, "seed": 4, "verbose": 0, **options},
        workers=workers,
        callbacks=[Each(function), *callbacks],
    ).history
    return agent.get_weights(), {name: figures for name, figures in history.items() if not name.startswith("time/")}


def assert_same(one, other):
    (weights, history), (expected, of_one) = one, other
    assert all(array.tobytes() == then.tobytes() for array, then in zip(weights, expected, strict=True))
    assert history == of_one


@pytest.fixture(scope="module")
def expected():
    return train(0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_weights_and_history_equal_those_of_one_process(instance, expected, workers):
    assert_same(train(workers), expected)
    assert all_gone()


def test_shards_only_affect_the_size_of_the_batches(expected):
    """CartPole's actions have the same bits in batches of 2 and 6, so here the number of shards changes nothing."""
    assert_same(train(0, shards=1), expected)


def test_a_killed_worker_changes_nothing(instance, expected, caplog):
    def kill(iteration):
        if iteration in (1, 2):
            os.kill(workers_here()[0], signal.SIGKILL)

    assert_same(train(2, function=kill), expected)
    assert "was lost" in caplog.text


@pytest.mark.slow
def test_a_stopped_worker_changes_nothing(instance, expected):
    stopped = []

    def stop(iteration):
        if iteration == 1:
            stopped.append(workers_here()[0])
            os.kill(stopped[0], signal.SIGSTOP)

    began = time.monotonic()
    try:
        assert_same(train(2, function=stop), expected)
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    # Ray alone would notice a dead machine only after half a minute.
    assert time.monotonic() - began < 60


class Pixels(gym.Env):
    """Images that the actions shift, in episodes of 25 steps."""

    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.image = 0, self.np_random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        return self.image, {}

    def step(self, action):
        self.time += 1
        self.image = np.roll(self.image, tuple(np.rint(5 * action).astype(int).tolist()), (0, 1))
        return self.image, float(self.image[0, 0, 0]) / 255, False, self.time == 25, {}


TASKS = {
    "Hopper": ("Hopper-v5", PolicySettings(hidden_sizes=(16, 16))),
    "images": (Pixels, PolicySettings(hidden_sizes=(16,))),
    "a memory": ("CartPole-v1", PolicySettings(hidden_sizes=(8,), memory="gru", memory_units=8)),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_other_tasks_have_the_same_bits_after_kills(instance, task):
    environment, policy = TASKS[task]
    if task == "Hopper":
        pytest.importorskip("mujoco")

    def kill(iteration):
        if iteration % 2:
            os.kill(workers_here()[0], signal.SIGKILL)

    one = train(0, environment, policy=policy, steps=40)
    assert_same(train(3, environment, policy=policy, steps=40), one)
    assert_same(train(2, environment, policy=policy, steps=40, function=kill), one)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(instance):
    """Steps are slow and rollouts long, so that most of the kills hit workers that collect."""
    steps = 100
    options = {"wrappers": [Slow], "steps": steps}
    one = train(0, **options)
    rng, over, killed = np.random.default_rng(0), threading.Event(), []

    def kill():
        # A worker takes some seconds to start again.
        while not over.wait(rng.uniform(1.0, 6.0)):
            if (found := workers_here()) and not over.is_set():
                victim = int(rng.choice(found))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)

    while len(killed) < 20:
        over.clear()
        killer = threading.Thread(target=kill)

        def begin(iteration, killer=killer):
            if iteration == 0:
                killer.start()
            elif iteration == ITERATIONS - 1:
                over.set()

        try:
            assert_same(train(3, function=begin, **options), one)
        finally:
            over.set()
            killer.join()


class Slow(gym.Wrapper):
    def step(self, action):
        time.sleep(0.01)
        return self.env.step(action)


class Jumping(gym.Wrapper):
    """Adds noise from the environment's own generator to the reward."""

    def step(self, action):
        observation, reward, *others = self.env.step(action)
        return observation, reward + self.unwrapped.np_random.normal(), *others


def make_pendulum():
    return gym.make("Pendulum-v1", max_episode_steps=9)


def lean(observation, action, *others):
    return float(abs(observation[2])) + 0.1 * float(action)


@pytest.mark.slow
def test_cost_functions_by_name_work_in_workers(instance):
    costs = [f"{__name__}:lean"]
    found = train(2, costs=costs)
    assert_same(found, train(0, costs=costs))
    assert "rollout/ep_cost_mean/lean" in found[1]


@pytest.mark.slow
def test_functions_wrappers_and_locally_registered_ids_work_in_workers(instance):
    # A function of a module that workers can import, and an id that workers have not registered.
    assert_same(train(2, make_pendulum, wrappers=[Jumping]), train(0, make_pendulum, wrappers=[Jumping]))
    gym.register("OnlyHere-v0", lambda: gym.make("Pendulum-v1", max_episode_steps=7))
    try:
        assert_same(train(2, "OnlyHere-v0"), train(0, "OnlyHere-v0"))
    finally:
        del gym.registry["OnlyHere-v0"]


@pytest.mark.slow
def test_a_checkpoint_continues_with_any_number_of_workers(instance, expected, tmp_path):
    def stop_after(iterations, workers, **options):
        folder = tmp_path / str(workers)

        def stop(agent):
            agent.stop_training = True

        halt = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: stop(halt.model) if epoch + 1 == iterations else None
        )
        saved = tf_trpo.callbacks.Checkpoint(folder, None)
        train(workers, callbacks=[halt, saved], **options)
        return folder

    for before, after in ((0, 2), (2, 0), (3, 1)):
        # Episodes of CartPole are longer than rollouts of 16 rows, so a checkpoint has unfinished episodes.
        folder = stop_after(2, before)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            weights, _ = train(after, resume_from=folder)
        assert all(array.tobytes() == then.tobytes() for array, then in zip(weights, expected[0], strict=True))
    with pytest.raises(ValueError, match="shards 3, not 2"):
        train(0, resume_from=folder, shards=2)


@pytest.mark.slow
def test_an_exception_of_an_environment_in_a_worker_is_raised_in_this_process(instance):
    class Breaking(gym.Wrapper):
        steps = 0

        def step(self, action):
            # The short rollout that compares workers at the start passes.
            self.steps += 1
            if self.steps > 20:
                raise ArithmeticError("broken")
            return super().step(action)

    def make():
        env = gym.make("CartPole-v1")
        return Breaking(env) if "OMP_NUM_THREADS" in os.environ and "ray" in " ".join(sys.argv) else env

    with pytest.raises(tf_trpo.environments.EnvironmentFailedError, match="raised ArithmeticError: broken"):
        train(2, make)


REFUSED = {
    "more workers than shards": ({"workers": 4}, "workers must be at most the number of shards, 3 for 6 environments"),
    "one environment": ({"workers": 1, "num_envs": 1}, "shards must be a divisor of 1 environments, got 3"),
    "by default there is one shard": ({"workers": 2, "shards": None}, "at most the number of shards, 1 for 6"),
    "processes in processes": ({"workers": 2, "backend": "async"}, "steps its environments by the backend sync, not a"),
    "an address without workers": ({"workers": 0, "ray_address": "auto"}, "ray_address has no effect without workers"),
    "negative": ({"workers": -1}, "workers must be zero or positive, got -1"),
    "not a divisor": ({"workers": 0, "shards": 4}, "shards must be a divisor of 6 environments, got 4"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_settings_of_workers_without_effect_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_vector_environments_and_shared_environments_are_refused():
    vector = SyncVectorEnv([make_pendulum] * ENVS)
    with pytest.raises(ValueError, match="a vector environment that is made already cannot be stepped by workers"):
        train(2, vector)
    agent, only = tf_trpo.TRPO.for_env(make_pendulum), make_pendulum()
    with pytest.raises(ValueError, match="the function gave the same PendulumEnv object twice"):
        agent.fit(lambda: only, 64, num_envs=2, workers=2, shards=2)


def test_without_ray_the_error_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'ray is not installed; it is in the extra ray: pip install -e "\.\[ray\]"'):
        train(2)


class Unpicklable:
    """Makes an environment, and refuses to be pickled, as some extension types do."""

    def __call__(self):
        return gym.make("CartPole-v1")

    def __reduce__(self):
        raise pickle.PicklingError("handles of simulators stay at home")


def test_the_error_names_an_environment_that_cannot_be_pickled(instance):
    with pytest.raises(ValueError, match=r"cannot be sent to workers: .*handles of simulators stay at home"):
        train(1, Unpicklable())


@pytest.mark.slow
def test_a_worker_that_dies_at_each_start_is_given_up_while_the_others_work(
    instance, expected, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(scheduling, "_MOST_STARTS", 3)
    monkeypatch.setattr(scheduling, "_GRACE", 300.0)
    here = os.getpid()

    def make():
        if os.getpid() != here:
            # The first worker process lives; all others die.
            with contextlib.suppress(FileExistsError):
                os.symlink(str(os.getpid()), tmp_path / "alive")
            if os.readlink(tmp_path / "alive") != str(os.getpid()):
                (tmp_path / f"died {os.getpid()}").touch()
                os._exit(1)
        return gym.make("CartPole-v1")

    assert_same(train(2, make), expected)
    assert len([*tmp_path.glob("died *")]) == 3
    assert "is not used: it was lost 3 times while it started, when it makes and plays the environment" in caplog.text


@pytest.mark.slow
def test_an_environment_that_ends_each_worker_at_its_start_ends_the_run(instance, monkeypatch):
    monkeypatch.setattr(scheduling, "_MOST_STARTS", 3)
    here = os.getpid()

    def make():
        if os.getpid() != here:
            os._exit(1)
        return gym.make("CartPole-v1")

    with pytest.raises(EnvironmentFailedError, match=r"no worker is left: worker \d is not used: it was lost 3 times"):
        train(2, make)
    assert all_gone()


@pytest.mark.slow
def test_workers_see_no_gpu_and_have_the_priority_of_this_process(instance):
    here, nice = os.getpid(), os.nice(0)

    def make():
        if os.getpid() != here:
            found = os.environ.get("CUDA_VISIBLE_DEVICES"), os.nice(0)
            if found != ("", nice):
                raise ValueError(f"devices and priority: {found}")
        return gym.make("CartPole-v1")

    train(1, make)


ALONE = """
import os
import tf_trpo
for _ in range(2):
    agent = tf_trpo.TRPO.for_env("CartPole-v1", seed=0)
    agent.compile(jit_compile=False)
    agent.fit("CartPole-v1", 64, num_steps=64, workers=1, verbose=0)
    print("RAY_AUTH_MODE" in os.environ)
"""


@pytest.mark.slow
def test_a_private_ray_does_not_change_the_environment_variables():
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    assert done.stdout.split() == ["False", "False"]
