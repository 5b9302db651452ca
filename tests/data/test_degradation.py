import numpy as np
import pytest

from srcx.config import DegradationOptions, load_degradation
from srcx.data.degradation import seeded


def drawn(seed=0, options=None, name="a"):
    return seeded(seed, options or load_degradation("web"), name).random()


def test_the_generator_of_an_image_is_the_same_on_every_machine_and_day():
    """The benchmark's numbers and the bytes of `srcx data degrade` hang on it."""
    assert drawn() == pytest.approx(0.176167018785663, abs=1e-15)


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"name": "b"}, {"options": load_degradation("old")}, {"options": DegradationOptions()}],
)
def test_the_generator_depends_on_seed_name_and_degradation(other):
    assert drawn(**other) != drawn()


def test_default_values_of_a_degradation_do_not_count():
    written = DegradationOptions.model_validate({"clean_prob": 0.0, "passes": [], "final": {"sinc_prob": 0}})
    assert drawn(options=written) == drawn(options=DegradationOptions())


def test_a_name_may_hold_bytes_that_are_no_utf_8():
    assert drawn(name="a\udcff") != drawn(name="a")
