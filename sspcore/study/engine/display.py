"""What a run shows of itself: bars on a terminal and in a notebook, plain lines elsewhere.

A task's bar shows its own count, or, where it tells none, the time it has had of the time it was expected to take. Events come
from one thread. `tick` is to be called about every second, so that times go on where nothing happens.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from typing import TextIO

from tqdm import notebook

from sspcore.core.progress import tqdm
from sspcore.study.engine.estimate import Estimate, lasted
from sspcore.study.engine.task import Task

SAID = ("train", "score", "notebook")  # kinds whose tasks have a line each
PARTS = {  # kinds of which a line says when a data set's last is done
    "render": "rendering", "prepare": "preparing", "register": "registering", "flow": "flow", "label": "labelling",
    "fuse": "fusing",
}
QUIET = 60.0  # seconds without a line after which one says what runs
REDRAW = 0.2  # seconds between two drawings of the bars
BAR = "{percentage:3.0f} % |{bar:30}| {desc}"
WIDGET = "{percentage:3.0f} % |{bar}| {desc}"


def open_display(estimate: Estimate, stream: TextIO | None = None) -> Display:
    """The display that fits where the output goes (default: standard output)."""
    stream = stream or sys.stdout
    return Bars(estimate, stream) if stream.isatty() or issubclass(tqdm, notebook.tqdm) else Lines(estimate, stream)


class Display:
    """Takes the events of a run; shows nothing by itself."""

    def __init__(self, estimate: Estimate, stream: TextIO) -> None:
        self.estimate, self.stream = estimate, stream
        self._began, self._made, self._failed = estimate.clock(), 0, 0

    def started(self, name: str) -> None:
        """A worker begins with a task."""
        self.estimate.started(name)

    def progress(self, name: str, done: float, total: float | None) -> None:
        """A task is so far."""
        self.estimate.progress(name, done, total)

    def done(self, name: str, seconds: float, made: bool = True) -> None:
        """A task is done; not `made`: it was up to date."""
        self.estimate.done(name, seconds, made)
        self._made += made

    def withdrawn(self, name: str) -> None:
        """A task waits for a worker again: its worker was lost."""
        self.estimate.withdrawn(name)

    def failed(self, name: str, message: str) -> None:
        """A task is given up, and with it those that need it."""
        self.estimate.failed(name)
        self._failed += 1
        title = self.estimate.tasks[name].title
        self.note(f"failed: {message}" if title in message else f"failed: {title}: {message}")

    def note(self, text: str) -> None:
        """A line that stays, such as what is new in the table."""

    def tick(self) -> None:
        """Time has passed."""

    def close(self) -> None:
        """The run is over."""

    def _summary(self) -> str:
        failures = f", {self._failed} failed" if self._failed else ""
        return f"{self._made} tasks done{failures} in {lasted(self.estimate.clock() - self._began)}"


class Lines(Display):
    """Plain lines: what was finished, and once a minute what runs."""

    def __init__(self, estimate: Estimate, stream: TextIO) -> None:
        super().__init__(estimate, stream)
        self._spoke = estimate.clock()
        self._parts = Counter(_group(task) for task in estimate.tasks.values())
        self._group_seconds: Counter[tuple[str, str]] = Counter()

    def done(self, name: str, seconds: float, made: bool = True) -> None:
        super().done(name, seconds, made)
        task = self.estimate.tasks[name]
        group = _group(task)
        self._parts[group] -= 1
        self._group_seconds[group] += seconds if made else 0.0
        if task.kind in SAID and made:
            self._say(f"{task.title}: done in {lasted(seconds)}")
        elif task.kind in PARTS and self._group_seconds[group] and not self._parts[group]:
            self._say(f"{group[0]}: {PARTS[task.kind]}: all done, {lasted(self._group_seconds[group])} of work")
        self.tick()

    def note(self, text: str) -> None:
        self._spoke = self.estimate.clock()
        print(text.replace("\r", " "), file=self.stream, flush=True)

    def tick(self) -> None:
        if self.estimate.clock() - self._spoke >= QUIET:
            titles = [self.estimate.tasks[name].title for name in self.estimate.running]
            self._say(f"at work: {', '.join(titles)}" if titles else "waiting for workers")

    def close(self) -> None:
        self._say(self._summary(), left=False)

    def _say(self, text: str, left: bool = True) -> None:
        then = f"; {self.estimate.left_in_words}" if left else ""
        share = f" {100 * self.estimate.share:.0f} %" if self.estimate.is_known else ""
        self.note(f"[{time.strftime('%H:%M')}{share}] {text}{then}")


class Bars(Display):
    """A bar for the whole run and one for every task at work; a bar is used again by the next task."""

    def __init__(self, estimate: Estimate, stream: TextIO) -> None:
        super().__init__(estimate, stream)
        self._overall = self._bar(0, leave=True)
        self._slots: list[tqdm] = []
        self._names: list[str | None] = []  # the task of each slot
        self._drawn = -math.inf
        self.tick()

    def started(self, name: str) -> None:
        super().started(name)
        if name not in self._names:
            if None not in self._names:
                self._names.append(None)
                self._slots.append(self._bar(len(self._names), leave=False))
            self._names[self._names.index(None)] = name
        self.tick()

    def progress(self, name: str, done: float, total: float | None) -> None:
        super().progress(name, done, total)
        self.tick()

    def done(self, name: str, seconds: float, made: bool = True) -> None:
        super().done(name, seconds, made)
        self._release(name)

    def withdrawn(self, name: str) -> None:
        super().withdrawn(name)
        self._release(name)

    def failed(self, name: str, message: str) -> None:
        super().failed(name, message)
        self._release(name)

    def note(self, text: str) -> None:
        tqdm.write(text, file=self.stream)

    def tick(self) -> None:
        estimate = self.estimate
        if estimate.clock() - self._drawn < REDRAW:
            return
        self._drawn = estimate.clock()
        counts = f"{len(estimate.all_done)} of {len(estimate.tasks)} tasks"
        self._draw(self._overall, estimate.share, f"{counts}, {estimate.left_in_words}")
        for name, bar in zip(self._names, self._slots, strict=True):
            if name is None:
                self._draw(bar, 0.0, "idle")
            else:
                self._draw(bar, estimate.share_of(name), estimate.tasks[name].title)

    def close(self) -> None:
        for bar in reversed(self._slots):
            bar.close()
        self._draw(self._overall, self.estimate.share, self._summary())
        self._overall.close()

    def _bar(self, position: int, leave: bool) -> tqdm:
        form = WIDGET if issubclass(tqdm, notebook.tqdm) else BAR
        return tqdm(total=1.0, position=position, bar_format=form, leave=leave, file=self.stream, dynamic_ncols=True)

    def _draw(self, bar: tqdm, share: float, text: str) -> None:
        bar.n = share
        bar.set_description_str(text)

    def _release(self, name: str) -> None:
        if name in self._names:
            self._names[self._names.index(name)] = None
        self.tick()


def _group(task: Task) -> tuple[str, str]:
    """What a task is a part of: the data set in its title, or the title, and its kind."""
    return task.title.partition(": ")[0], task.kind
