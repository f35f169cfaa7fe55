"""What a run shows, on a stream that is a terminal and on one that is not."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.graphs import Clock, graphs, replay, task
from sspcore.study.engine import display
from sspcore.study.engine.costs import Costs
from sspcore.study.engine.display import Bars, Lines, open_display
from sspcore.study.engine.estimate import Estimate
from sspcore.study.engine.schedule import simulate, upward_rank

SECONDS = {"r1": 60.0, "r2": 60.0, "t": 240.0, "s": 60.0, "n": 60.0}
TASKS = {each.name: each for each in (
    task("r1", kind="render"), task("r2", kind="render"), task("t", "r1", "r2"), task("s", "t", kind="score"),
    task("n", "s", kind="notebook"),
)}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, tasks=TASKS, seconds=SECONDS, workers: int = 1, note: str = ""):
    """What a run writes that takes the time expected, ticking every second."""
    clock = Clock()
    costs = Costs({"train Base": 1.0})
    costs.seconds = lambda each: seconds[each.name]
    estimate = Estimate(tasks, costs, workers, upward_rank(tasks, seconds), clock=clock)
    schedule, what = simulate(tasks, seconds, workers, estimate.priority), open_display(estimate, stream)
    for _ in replay(what, schedule, clock):
        what.tick()
        if note:
            what.note(note)
    what.close()
    return what, stream.getvalue()


def test_without_a_terminal_there_are_plain_lines():
    what, text = shown(io.StringIO())
    assert isinstance(what, Lines)
    assert "\r" not in text
    assert "\x1b" not in text
    lines = [re.sub(r"^\[\d\d:\d\d ", "[", line) for line in text.splitlines()]
    assert lines[-4:] == [
        "[75 %] UAVid: task t: done in 4.0 min; 2 min left", "[88 %] UAVid: task s: done in 1.0 min; 60 s left",
        "[100 %] UAVid: task n: done in 1.0 min; 0 s left", "[100 %] 5 tasks done in 8.0 min",
    ]
    assert "[25 %] UAVid: rendering: all done, 2.0 min of work; 6 min left" in lines
    assert any(line.endswith("at work: UAVid: task t; 5 min left") for line in lines)


def test_before_anything_is_known_a_line_has_no_number():
    clock, stream = Clock(), io.StringIO()
    what = open_display(Estimate(TASKS, Costs({"train Base": 1.0}), 1, dict.fromkeys(TASKS, 0.0), clock=clock), stream)
    what.started("r1")
    clock.now = 61.0
    what.tick()
    assert re.fullmatch(r"\[\d\d:\d\d\] at work: UAVid: task r1; time not known yet\n", stream.getvalue())


@settings(deadline=None)
@given(graphs(), st.sampled_from(["train", "render", "predict"]))
def test_the_number_of_lines_is_bounded(graph, kind):
    tasks = {name: task(name, *each.needs, kind=kind) for name, each in graph[0].items()}
    seconds = {name: 30 * value for name, value in graph[1].items()}
    text = shown(io.StringIO(), tasks, seconds)[1]
    spoken = {"train": len(tasks), "render": 1, "predict": 0}[kind]
    assert "\r" not in text
    assert len(text.splitlines()) <= spoken + sum(seconds.values()) / display.QUIET + 1


def test_results_and_failures_are_lines_of_their_own():
    stream, tasks = io.StringIO(), dict(TASKS)
    what = open_display(Estimate(tasks, Costs({"train Base": 1.0}), 1, dict.fromkeys(tasks, 0.0), clock=Clock()), stream)
    what.note("UAVid: Base: mIoU 61.2")
    what.started("r1")
    what.failed("r1", "disk full at a")
    what.done("r2", 0.0, made=False)
    what.close()
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["UAVid: Base: mIoU 61.2", "failed: UAVid: task r1: disk full at a"]
    assert lines[2].endswith("0 tasks done, 1 failed in 0 s")
    assert len(lines) == 3


def test_a_terminal_has_a_bar_for_every_task_at_work_and_one_for_all():
    what, text = shown(Terminal(), workers=2, note="new in the table: Base")
    assert isinstance(what, Bars)
    assert len(what._slots) == 2
    assert "2 of 5 tasks, 6 min left" in text
    assert re.search(r"50 % \|.*\| UAVid: task t", text)
    assert "idle" in text
    assert "new in the table: Base\n" in text
    assert re.search(r"100 % \|.*\| 5 tasks done in 7.0 min", text)


def test_a_task_that_tells_nothing_shows_the_time_it_has_had():
    clock = Clock()
    what = Bars(Estimate(TASKS, Costs({"train Base": 120.0}), 1, dict.fromkeys(TASKS, 0.0), clock=clock), Terminal())
    what.started("r1")
    clock.now = 30.0
    what.tick()
    assert what._slots[0].n == pytest.approx(0.25, abs=0.01)
    what.close()


def test_a_withdrawn_task_leaves_its_bar():
    what = Bars(Estimate(TASKS, Costs({"train Base": 9.0}), 1, dict.fromkeys(TASKS, 0.0), clock=Clock()), Terminal())
    what.started("r1")
    what.withdrawn("r1")
    what.started("r2")
    assert what._names == ["r2"]
    what.close()


def test_bars_are_drawn_rarely():
    clock, stream = Clock(), Terminal()
    what = Bars(Estimate(TASKS, Costs({"train Base": 9.0}), 1, dict.fromkeys(TASKS, 0.0), clock=clock), stream)
    what.started("r1")
    for step in range(1000):
        clock.now = step * 1e-3
        what.progress("r1", step, 1000)
    assert stream.getvalue().count("\r") < 40
    what.close()
