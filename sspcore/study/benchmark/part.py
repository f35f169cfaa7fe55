"""What a part of the benchmark is, and the settings that it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from sspcore.study.profiles import Profile


@dataclass(frozen=True)
class Setting:
    """What a part measures under.

    Attributes:
        share: of the usual repetitions, 0..1, where minutes are short.
        within: seconds after which a single timing ends early; None: never.
    """

    profile: Profile
    device: torch.device
    share: float = 1.0
    within: float | None = None

    def times(self, usual: int, least: int) -> int:
        """How often to repeat."""
        return max(least, round(usual * self.share))


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        title: unique, for people.
        section: of the figures' file that its rows belong to.
        seconds: that it takes on an A100 or H100 at the published sizes with all repetitions, roughly.
        measure: yields the rows; a function of a module with its arguments, since another process calls it.
        why_not: why this machine cannot run it; None if it can.
        spare: measured in what time is left over: no other part is shortened for it.
    """

    title: str
    section: str
    seconds: float
    measure: Callable[[Setting], Iterator[dict[str, Any]]]
    why_not: str | None = None
    spare: bool = False


def free_memory(device: torch.device) -> None:
    """Give a GPU's memory that is not in use back, so that what follows is measured by itself."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
