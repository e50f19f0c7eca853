"""The Pareto front, and which point is taken."""

from balans_dask.evaluate.sweep.result import Point, choose, pareto_front
from balans_dask.parameters import Parameters


def point(signal: float, mixing: float, n_neighbors: int = 5) -> Point:
    return Point(Parameters(n_neighbors=n_neighbors), signal, mixing)


def raw(signal: float, mixing: float) -> Point:
    return Point(None, signal, mixing)


def test_the_front_holds_what_nothing_beats():
    worse, left, right, middle = (
        point(0.4, 0.4), point(0.9, 0.1), point(0.1, 0.9), point(0.5, 0.5),
    )  # fmt: skip
    assert pareto_front([worse, right, left, middle]) == [left, middle, right]


def test_equal_points_are_all_on_the_front():
    twins = [point(0.5, 0.5, 3), point(0.5, 0.5, 10)]
    assert pareto_front(twins) == twins


def test_equal_in_one_and_worse_in_the_other_is_beaten():
    best, flat, steep = point(0.5, 0.5), point(0.5, 0.4), point(0.4, 0.5)
    assert pareto_front([flat, best, steep]) == [best]


def test_the_highest_total_is_taken():
    start, little, much = raw(0.5, 0.1), point(0.5, 0.3), point(0.49, 0.8)
    assert choose([start, little, much]) is much


def test_mixing_does_not_pay_for_lost_signal():
    start, destroyed = raw(0.5, 0.1), point(0.48, 1.0)
    assert choose([start, destroyed]) is start


def test_of_equal_totals_the_first_is_taken_and_raw_before_all():
    start, same, again = raw(0.5, 0.5), point(0.5, 0.5, 3), point(0.5, 0.5, 10)
    assert choose([same, start, again]) is start
    assert choose([raw(0.5, 0.1), same, again]) is same
