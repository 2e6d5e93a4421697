"""Acting in environments of every kind: both actors do what the policy does, in the environment's own terms."""

import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from tf_trpo.models import PolicySettings, make_policy
from tf_trpo.rollouts import CompiledActor, LiteActor
from tf_trpo.spaces import map_parts

NUM_ENVS = 8
VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float64)
NEST = spaces.Dict(
    place=VECTOR,
    seen=spaces.Tuple([spaces.Box(0, 255, (5, 6, 3), np.uint8), spaces.Discrete(4, start=2)]),
    kinds=spaces.MultiDiscrete([[2, 3]], start=[[1, 0]]),
    bits=spaces.MultiBinary(3),
    count=spaces.Box(-5, 5, (), np.int16),
)
PUSH = spaces.Box(np.array([-0.1, 1e9]), np.array([0.1, 1e9 + 1]), dtype=np.float64)
LEVERS = spaces.MultiDiscrete([[2, 4], [3, 1]], start=[[0, -1], [5, 0]])
PARTS = spaces.Dict(push=PUSH, gears=spaces.Tuple([spaces.Discrete(3, start=-1), LEVERS]), flags=spaces.MultiBinary(2))


def masked(size, observed=VECTOR, dtype=np.int8):
    return spaces.Dict(action_mask=spaces.Box(0, 1, (size,), dtype), observed=observed)


CASES = {
    "bits": (VECTOR, spaces.MultiBinary((2, 2)), {}),
    "whole numbers": (VECTOR, spaces.Box(-2, 3, (2,), np.int8), {}),
    "a product with beta": (VECTOR, PARTS, {"distribution": "beta"}),
    "masked": (masked(4, dtype=np.float64), spaces.Discrete(4, start=1), {}),
    "masked numbers": (masked(10, NEST, np.float32), LEVERS, {}),
}


def observations(policy, seed=0):
    rng = np.random.default_rng(seed)

    def values(part):
        shape = (NUM_ENVS, *part.shape)
        if part.kind == "one-hot":
            return rng.integers(part.starts, np.add(part.starts, part.sizes), (NUM_ENVS, len(part.sizes))).reshape(
                shape
            )
        high = {"image": 256, "mask": 2, "binary": 2}.get(part.kind, 5)
        return rng.integers(0, high, shape) if part.dtype != "float64" else 1e9 + rng.normal(size=shape)

    return map_parts(lambda part: values(part).astype(part.dtype), policy.encoder.spec)


def trained(observed, action_space, settings):
    """A policy with weights and statistics as after training."""
    policy = make_policy(PolicySettings(hidden_sizes=(6,), **settings), observed, action_space)
    rng = np.random.default_rng(0)
    for weight in policy.trainable_variables:
        scale = 3.0 / np.sqrt(np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.1
        weight.assign(scale * rng.normal(size=weight.shape))
    for normalization in policy.encoder.normalization:
        normalization.mean.assign(np.full(normalization.shape, 1e9 if normalization.resolution else 1.0))
        normalization.scale.assign(rng.uniform(0.5, 2.0, normalization.shape))
        normalization.limit.assign(1.5)
    return policy


@pytest.mark.parametrize("name", CASES)
def test_both_actors_act_as_the_policy_and_every_action_lies_in_the_space(name):
    observed, action_space, settings = CASES[name]
    policy, rng = trained(observed, action_space, settings), np.random.default_rng(1)
    distribution = policy.action_distribution
    stochastic = [LiteActor(policy, NUM_ENVS), CompiledActor(policy, NUM_ENVS)]
    modes = [CompiledActor(policy, NUM_ENVS, deterministic=True)] if name == "a product with beta" else []
    actors = {False: stochastic, True: modes}
    for seed in range(2):
        seen = observations(policy, seed)
        noise = distribution.noise([NUM_ENVS], tf.constant([seed, 1]))
        given = tf.nest.map_structure(tf.convert_to_tensor, seen)
        for deterministic in (False, True):
            expected = policy.act(given, None if deterministic else noise).numpy() if actors[deterministic] else None
            for actor in actors[deterministic]:
                actions = actor(seen, noise.numpy())
                assert actions.sampled.dtype == expected.dtype
                np.testing.assert_allclose(actions.sampled, expected, rtol=1e-3, atol=1e-4)
                assert len(np.unique(expected, axis=0)) > 1, "the observations make no difference: nothing is tested"
                for index in range(NUM_ENVS):
                    action = tf.nest.map_structure(lambda rows, index=index: rows[index], actions.environment)
                    assert action_space.contains(action), action
    if "masked" in name:
        for actor in stochastic:
            check_masks(policy, actor, rng)


def check_masks(policy, actor, rng):
    """Actions that are not allowed are never taken, and all others are."""
    distribution = policy.action_distribution
    sizes = getattr(distribution, "sizes", (distribution.num_outputs,))
    taken, starts = np.zeros(sum(sizes), int), np.cumsum([0, *sizes[:-1]])
    for seed in range(50):
        mask = rng.integers(0, 2, (NUM_ENVS, sum(sizes)))
        # One choice of each number is always allowed.
        for row in mask:
            row[starts + rng.integers(0, sizes)] = 1
        seen = {**observations(policy, seed), "action_mask": mask.astype(policy.encoder.spec["action_mask"].dtype)}
        sampled = actor(seen, distribution.noise([NUM_ENVS], tf.constant([seed, 2])).numpy()).sampled
        chosen = sampled.reshape(NUM_ENVS, -1) + starts
        assert np.take_along_axis(mask, chosen, axis=1).all()
        taken += np.bincount(chosen.ravel(), minlength=len(taken))
    assert (taken > 0).all()
