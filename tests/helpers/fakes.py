"""Tasks of which the test says what they do. A worker that is sent one imports this module, which makes their method known."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader, IterableDataset

from sspcore.core.errors import ArtefactError
from sspcore.core.progress import tqdm
from sspcore.study.engine.task import Call, StudySpec, Task
from sspcore.study.engine.work import METHODS


@dataclass(frozen=True)
class Act:
    """What a task does, after it has written its name and its process to the file `diary`.

    Attributes:
        deed: "write" a file of its name; "refuse" with an error of ours, "break" with another, "full": as on a full disk,
            "memory": as where there is none left, "die" at the first attempt; "count" with a bar; "threads": write how many;
            "load" windows in a process of its own, without end.
        seconds: that it takes.
    """

    name: str
    diary: str
    deed: str = "write"
    seconds: float = 0.0


def act(spec: StudySpec, action: Act) -> None:
    """The method of such tasks."""
    diary = Path(action.diary)
    with diary.open("a") as file:
        file.write(f"{action.name} {os.getpid()}\n")
    time.sleep(action.seconds)
    made, text = diary.with_name(action.name), "made"
    match action.deed:
        case "refuse":
            raise ArtefactError(f"{action.name} refuses")
        case "break":
            raise ValueError("it\nbreaks")
        case "full":
            raise OSError(28, "No space left on device", action.diary)
        case "memory":
            raise MemoryError
        case "die":
            died = diary.with_name(f"{action.name}-died")
            if not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case "count":
            for _ in tqdm(range(3), desc="counting"):
                time.sleep(0.6)
        case "load":
            for _ in DataLoader(_Endless(action.diary), batch_size=None, num_workers=1):
                pass
        case "threads":
            text = f"{torch.get_num_threads()} {cv2.getNumThreads()}"
    made.write_text(text)


class _Endless(IterableDataset):
    """Writes down in which process it is read."""

    def __init__(self, diary: str) -> None:
        self._diary = diary

    def __iter__(self) -> Iterator[int]:
        for k in itertools.count():
            if k == 1:
                with open(self._diary, "a") as file:
                    file.write(f"loader {os.getpid()}\n")
            time.sleep(0.05)
            yield k


METHODS["act"] = act


def ready() -> None:
    """Nothing: a worker that is asked for this has imported all."""


def acting(folder: Path, name: str, *needs: str, deed: str = "write", seconds: float = 0.0) -> Task:
    """A task that does so; its diary is `folder`/diary."""
    call = Call(StudySpec("{}", 0, None, str(folder)), "act", (Act(name, str(folder / "diary"), deed, seconds),))
    return Task(name, "train", f"UAVid: {name}", call, needs, rate="train Base")


def diary(folder: Path) -> list[tuple[str, int]]:
    """Names and processes in the order of their beginnings."""
    lines = (folder / "diary").read_text().splitlines()
    return [(name, int(process)) for name, process in map(str.split, lines)]
