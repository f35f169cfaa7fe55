"""Share and time left, against runs that are simulated."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.graphs import Clock, graphs, replay, task
from sspcore.study.engine.costs import Costs
from sspcore.study.engine.estimate import Estimate, in_words
from sspcore.study.engine.schedule import simulate, upward_rank


def exact(tasks, seconds, workers, clock) -> Estimate:
    """An estimate that knows the seconds of every task."""
    costs = Costs({}, {"": (1.0, 1.0)})
    costs.seconds = lambda each: seconds[each.name]
    costs.observe = lambda each, took: None
    return Estimate(tasks, costs, workers, upward_rank(tasks, seconds), clock=clock)


@settings(deadline=None)
@given(graphs(shortest=0.01), st.integers(1, 4), st.booleans())
def test_with_exact_costs_the_time_left_is_right_and_the_share_grows(graph, workers, reports):
    tasks, seconds = graph
    clock = Clock()
    estimate = exact(tasks, seconds, workers, clock)
    schedule = simulate(tasks, seconds, workers, estimate.priority)
    assert estimate.seconds_left == pytest.approx(schedule.makespan)
    shares = [0.0]
    for _ in replay(estimate, schedule, clock, reports):
        assert estimate.seconds_left == pytest.approx(schedule.makespan - clock.now, abs=0.01 * schedule.makespan + 1e-2)
        shares.append(estimate.share)
    assert shares == pytest.approx(sorted(shares), abs=1e-6)
    assert (estimate.seconds_left, estimate.share) == (0, 1)


@settings(deadline=None)
@given(graphs(), st.integers(1, 4), st.floats(0.1, 10), st.data())
def test_whatever_happens_the_time_left_is_not_negative(graph, workers, factor, data):
    tasks, seconds = graph
    clock = Clock()
    costs = Costs({"train Base": 5.0})
    estimate = Estimate(tasks, costs, workers, upward_rank(tasks, seconds), clock=clock)
    schedule = simulate(tasks, {name: factor * value for name, value in seconds.items()}, workers, estimate.priority)
    for name in replay(estimate, schedule, clock, reports=data.draw(st.booleans())):
        if name in estimate.running and data.draw(st.booleans()):
            estimate.progress(name, data.draw(st.floats(0, 5)), data.draw(st.sampled_from([None, 0, 3, 5])))
        assert 0 <= estimate.seconds_left < math.inf
        assert 0 <= estimate.share <= 1
        assert all(0 <= estimate.share_of(running) <= 1 for running in estimate.running)


def test_a_running_task_is_estimated_by_its_own_speed():
    clock, tasks = Clock(), {"a": task("a"), "b": task("b")}
    estimate = exact(tasks, {"a": 10.0, "b": 10.0}, 1, clock)
    estimate.started("a")
    for second in range(1, 51):
        clock.now = float(second)
        estimate.progress("a", second, 100)
    assert estimate.seconds_left == pytest.approx(50 + 10, rel=0.2)  # not 0 + 10
    assert estimate.share_of("a") == 0.5


def test_a_late_task_is_given_more_time():
    clock, tasks = Clock(), {"a": task("a")}
    estimate = exact(tasks, {"a": 10.0}, 1, clock)
    estimate.started("a")
    clock.now = 70.0
    assert estimate.seconds_left == pytest.approx(60)


def test_a_second_bar_of_a_task_counts_from_its_own_start():
    clock, tasks = Clock(), {"a": task("a")}
    estimate = exact(tasks, {"a": 100.0}, 1, clock)
    estimate.started("a")
    clock.now = 1.0
    estimate.progress("a", 7, 7)  # flow is there
    assert estimate.seconds_left == pytest.approx(99)
    for second in range(2, 22):
        clock.now = float(second)
        estimate.progress("a", second - 1, 40)
    assert estimate.seconds_left == pytest.approx(20, rel=0.35)


def test_before_anything_is_measured_no_time_is_told_and_a_share_never_falls():
    clock, tasks = Clock(), {"a": task("a"), "b": task("b"), "c": task("c", "b")}
    estimate = Estimate(tasks, Costs({"train Base": 10.0}), 1, dict.fromkeys(tasks, 0.0), clock=clock)
    estimate.started("a")
    clock.now = 9.0
    assert (estimate.left_in_words, estimate.share) == ("time not known yet", 0.0)
    clock.now = 0.0
    estimate.progress("a", 1, 100)
    assert estimate.left_in_words.endswith(" left")
    clock.now = 10.0
    estimate.done("a", 10.0)
    before = estimate.share
    estimate.started("b")
    clock.now = 12.0
    for second in range(13, 60):
        clock.now = float(second)
        estimate.progress("b", second / 10, 1000)  # far slower than expected
        assert estimate.share >= before > 0.1
        before = estimate.share
    known = Costs({"train Base": 10.0}, {"": (10.0, 12.0)})
    assert Estimate(tasks, known, 1, dict.fromkeys(tasks, 0.0), clock=clock).left_in_words.endswith(" left")


def test_what_needs_a_failed_task_is_not_waited_for():
    tasks = {each.name: each for each in (task("a"), task("b", "a"), task("c", "b"), task("d"))}
    estimate = exact(tasks, dict.fromkeys(tasks, 10.0), 1, Clock())
    assert estimate.seconds_left == 40
    estimate.started("a")
    estimate.failed("a")
    estimate.clock.now = 2.0
    assert estimate.seconds_left == 10


def test_a_task_of_a_lost_worker_is_all_ahead_again_and_fewer_workers_take_longer():
    clock, tasks = Clock(), {each.name: each for each in (task("a"), task("b"))}
    estimate = exact(tasks, dict.fromkeys(tasks, 10.0), 2, clock)
    estimate.started("a")
    estimate.started("b")
    clock.now = 6.0
    assert estimate.seconds_left == pytest.approx(4)
    estimate.withdrawn("a")
    estimate.resize(1, None)
    clock.now = 8.0
    assert estimate.seconds_left == pytest.approx(12)


def test_tasks_that_were_up_to_date_are_no_work():
    tasks = {each.name: each for each in (task("a"), task("b", "a"))}
    estimate = exact(tasks, dict.fromkeys(tasks, 10.0), 1, Clock())
    estimate.done("a", 0.1, made=False)
    assert (estimate.spent, estimate.share) == (0, 0)
    assert estimate.seconds_left == 10


def test_three_thousand_tasks_are_estimated_in_little_time():
    tasks = {f"{number:04d}": task(f"{number:04d}", *(f"{need:04d}" for need in range(max(0, number - 4), number)))
             for number in range(3000)}
    clock = Clock()
    estimate = exact(tasks, dict.fromkeys(tasks, 1.0), 8, clock)
    began = time.perf_counter()
    for event in range(1000):
        clock.now = event * 0.001
        assert estimate.seconds_left
    assert time.perf_counter() - began < 1.0


def test_times_for_people():
    assert [in_words(each) for each in (0.2, 45, 99, 100, 1080, 5900, 9360)] == [
        "0 s", "45 s", "99 s", "2 min", "18 min", "98 min", "2.6 h",
    ]
