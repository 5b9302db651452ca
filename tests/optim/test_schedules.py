import pytest

from srcx.errors import OptionsError
from srcx.optim.schedules import cosine_annealing_restart, multi_step, warm_up


def rates(schedule, count, lr=1.0):
    return [schedule(lr, done) for done in range(count)]


def test_multi_step_halves_at_each_milestone():
    assert rates(multi_step([2, 4], gamma=0.5), 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_multi_step_counts_a_milestone_named_twice_twice():
    assert rates(multi_step([1, 1], gamma=0.5), 3) == [1, 0.25, 0.25]


def test_multi_step_begins_again_at_a_restart():
    schedule = multi_step([1, 4], gamma=0.5, restarts=[0, 3], restart_weights=[1, 0.8])
    assert rates(schedule, 6) == pytest.approx([1, 0.5, 0.5, 0.8, 0.4, 0.4])


def test_cosine_restarts_with_its_weight_after_each_period():
    schedule = cosine_annealing_restart([2, 2], restart_weights=[1, 0.5], eta_min=0.0)
    assert rates(schedule, 5) == pytest.approx([1, 0.5, 0, 0.25, 0], abs=1e-12)


def test_cosine_stays_at_its_lowest_after_the_last_period():
    assert rates(cosine_annealing_restart([2], eta_min=0.1), 5)[2:] == pytest.approx([0.1, 0.1, 0.1])


def test_warm_up_rises_linearly_to_the_full_rate():
    assert rates(warm_up(multi_step([]), 4), 6) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_lists_of_unequal_length_are_refused():
    with pytest.raises(OptionsError, match="2 and 1"):
        cosine_annealing_restart([1, 2])
