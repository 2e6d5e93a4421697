"""Settings of TrustRegion: their ranges and their config."""

import json

import keras
import pytest

from tf_trpo.optimizers import TrustRegion

SCHEDULE = keras.optimizers.schedules.PolynomialDecay(0.5, 4, 0.1)
OTHER_SETTINGS = {
    "max_kl": 0.03,
    "constraint": "max",
    "radius": "adaptive",
    "min_radius": 1e-4,
    "max_radius": 0.5,
    "shrink_below": 0.1,
    "expand_above": 0.9,
    "shrink_factor": 0.5,
    "expand_factor": 3.0,
    "cg_iterations": 7,
    "cg_damping": 0.02,
    "cg_tolerance": 1e-4,
    "backtrack_ratio": 0.6,
    "max_backtracks": 4,
    "curvature_fraction": 0.25,
    "fisher_vector_product": "double-backprop",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_kl", 0.0),
        ("max_kl", -0.01),
        ("max_kl", float("nan")),
        ("max_kl", float("inf")),
        ("constraint", "median"),
        ("radius", "shrinking"),
        ("min_radius", 0.0),
        ("max_radius", float("inf")),
        ("shrink_below", -0.1),
        ("shrink_below", 1.0),
        ("expand_above", 0.25),
        ("expand_above", 1.0),
        ("shrink_factor", 0.0),
        ("shrink_factor", 1.0),
        ("expand_factor", 1.0),
        ("expand_factor", float("inf")),
        ("cg_iterations", 0),
        ("cg_damping", -1e-9),
        ("cg_damping", float("nan")),
        ("cg_tolerance", -1e-9),
        ("backtrack_ratio", 0.0),
        ("backtrack_ratio", 1.0),
        ("max_backtracks", -1),
        ("curvature_fraction", 0.0),
        ("curvature_fraction", 1.01),
        ("curvature_fraction", float("nan")),
        ("fisher_vector_product", "hessian"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        TrustRegion(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("min_radius", 0.02), ("max_radius", 0.009)])
def test_an_adaptive_radius_starts_between_its_limits(name, value):
    TrustRegion(0.01, **{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be at"):
        TrustRegion(0.01, radius="adaptive", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("cg_damping", 0.0), ("cg_tolerance", 0.0), ("cg_iterations", 1), ("max_backtracks", 0)]
)
def test_the_end_of_a_range_belongs_to_it(name, value):
    assert TrustRegion(**{name: value}).get_config()[name] == value


def test_every_setting_has_another_default_than_the_ones_tested_here():
    defaults = TrustRegion().get_config()
    assert defaults.keys() == OTHER_SETTINGS.keys()
    assert all(defaults[name] != value for name, value in OTHER_SETTINGS.items())


def test_an_adaptive_radius_follows_no_schedule():
    with pytest.raises(ValueError, match=r"^max_kl must be a number if the radius adapts"):
        TrustRegion(SCHEDULE, radius="adaptive")


@pytest.mark.parametrize("first", [0.0, -0.1, float("nan"), float("inf")])
def test_a_schedule_that_cannot_begin_is_refused(first):
    with pytest.raises(ValueError, match=r"^max_kl must be"):
        TrustRegion(keras.optimizers.schedules.PolynomialDecay(first, 4, 0.1))


def test_config_round_trip_keeps_a_schedule():
    optimizer = TrustRegion(SCHEDULE, constraint="max")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == optimizer.get_config()
    assert [float(copy.max_kl(step)) for step in (0, 2, 9)] == pytest.approx([0.5, 0.3, 0.1])


def test_config_round_trip_keeps_every_setting():
    optimizer = TrustRegion(**OTHER_SETTINGS)
    assert optimizer.get_config() == OTHER_SETTINGS
    assert TrustRegion.from_config(optimizer.get_config()).get_config() == OTHER_SETTINGS
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(optimizer)))
    copy = keras.saving.deserialize_keras_object(config)
    assert isinstance(copy, TrustRegion)
    assert copy.get_config() == OTHER_SETTINGS
