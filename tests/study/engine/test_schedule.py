"""List scheduling against graphs worked out by hand, and what holds for any graph."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.graphs import graphs, task
from sspcore.study.engine.schedule import critical_path, needed_by, order, priorities, simulate, upward_rank

# a(3) -> c(2) -> d(4);  b(1) -> d;  e(5) alone
TASKS = {each.name: each for each in (task("a"), task("b"), task("c", "a"), task("d", "b", "c"), task("e"))}
SECONDS = {"a": 3.0, "b": 1.0, "c": 2.0, "d": 4.0, "e": 5.0}


def test_a_schedule_worked_out_by_hand():
    schedule = simulate(TASKS, SECONDS, 2, upward_rank(TASKS, SECONDS))
    # ranks: a 9, c 6, b 5, e 5, d 4; at 0 a and b (before e by its name), e from 1 to 6, c 3 to 5, d 5 to 9
    assert {name: tuple(slot) for name, slot in schedule.slots.items()} == {
        "a": (0, 0, 3), "b": (1, 0, 1), "e": (1, 1, 6), "c": (0, 3, 5), "d": (0, 5, 9),
    }
    assert schedule.makespan == 9
    assert schedule.utilisation == pytest.approx(15 / 18)


def test_one_worker_goes_by_priority_alone():
    schedule = simulate(TASKS, SECONDS, 1, {"a": 0, "b": 2, "c": 0, "d": 9, "e": 1})
    assert [name for name, _ in sorted(schedule.slots.items(), key=lambda item: item[1].start)] == ["b", "e", "a", "c", "d"]
    assert schedule.makespan == 15
    assert schedule.utilisation == 1


def test_upward_rank_and_critical_path():
    assert upward_rank(TASKS, SECONDS) == {"a": 9, "b": 5, "c": 6, "d": 4, "e": 5}
    assert critical_path(TASKS, SECONDS) == (["a", "c", "d"], 9)


def test_an_empty_graph():
    schedule = simulate({}, {}, 2, {})
    assert (schedule.makespan, schedule.utilisation, critical_path({}, {})) == (0, 1, ([], 0))


def test_needs_outside_the_graph_are_done():
    left = {"d": TASKS["d"]}
    assert simulate(left, SECONDS, 1, {"d": 0}).makespan == 4
    assert critical_path(left, SECONDS) == (["d"], 4)


def test_tasks_with_a_device_run_on_device_workers_only():
    tasks = {each.name: each for each in (task("a", device=True), task("b", device=True), task("c"), task("d", "a"))}
    seconds = dict.fromkeys(tasks, 2.0)
    slots = simulate(tasks, seconds, 1, dict.fromkeys(tasks, 0.0), devices=1).slots
    assert {name: tuple(slot) for name, slot in slots.items()} == {
        "a": (1, 0, 2), "b": (1, 2, 4), "c": (0, 0, 2), "d": (0, 2, 4),
    }


def test_what_can_never_run_is_refused():
    circle = {each.name: each for each in (task("a", "b"), task("b", "a"), task("c"))}
    seconds = dict.fromkeys(circle, 1.0)
    with pytest.raises(ValueError, match="task a can never run"):
        simulate(circle, seconds, 2, seconds)
    with pytest.raises(ValueError, match="task a waits for itself"):
        order(circle)
    with pytest.raises(ValueError, match="no worker"):
        simulate({"a": task("a", device=True)}, {"a": 1.0}, 2, {"a": 0.0}, devices=0)


def test_early_goals_come_first_with_all_that_they_need():
    first = priorities(TASKS, SECONDS, [["e"], ["c", "e", "not there"]])
    assert sorted(first, key=first.__getitem__, reverse=True) == ["e", "a", "c", "b", "d"]
    assert priorities(TASKS, SECONDS) == upward_rank(TASKS, SECONDS)
    assert needed_by(TASKS, ["c"]) == {"a", "c"}


@given(graphs(), st.integers(1, 6), st.data())
def test_what_holds_for_any_graph(graph, workers, data):
    tasks, seconds = graph
    priority = {name: data.draw(st.floats(0, 10)) for name in tasks}
    schedule = simulate(tasks, seconds, workers, priority)
    slots, work = schedule.slots, sum(seconds.values())
    length = critical_path(tasks, seconds)[1]
    assert slots.keys() == tasks.keys()
    assert all(slots[need].end <= slot.start for name, slot in slots.items() for need in tasks[name].needs)
    for worker in range(workers):
        own = sorted(slot[1:] for slot in slots.values() if slot.worker == worker)
        assert all(end <= start for (_, end), (start, _) in zip(own, own[1:], strict=False))
    # no schedule is shorter than this, no list schedule longer than Graham's bound
    assert schedule.makespan >= max(length, work / workers) - 1e-6
    assert schedule.makespan <= work / workers + (1 - 1 / workers) * length + 1e-6


@given(graphs())
def test_ranks_fall_along_the_graph(graph):
    tasks, seconds = graph
    ranks, (path, length) = upward_rank(tasks, seconds), critical_path(tasks, seconds)
    assert all(ranks[need] >= ranks[name] + seconds[need] - 1e-6 for name in tasks for need in tasks[name].needs)
    assert sum(seconds[name] for name in path) == pytest.approx(length)
    assert all(before in tasks[after].needs for before, after in zip(path, path[1:], strict=False))


@given(graphs(), st.data())
def test_a_group_is_before_the_next_and_a_need_before_its_task(graph, data):
    tasks, seconds = graph
    goals = st.lists(st.sampled_from(sorted(tasks)), max_size=3)
    first = [data.draw(goals), data.draw(goals)]
    found = priorities(tasks, seconds, first)
    early, both = needed_by(tasks, first[0]), needed_by(tasks, first[0] + first[1])
    for inner, outer in ((early, tasks.keys() - early), (both, tasks.keys() - both)):
        assert min((found[name] for name in inner), default=1e9) > max((found[name] for name in outer), default=-1)
    assert all(found[need] >= found[name] - 1e-6 for name in tasks for need in tasks[name].needs)
