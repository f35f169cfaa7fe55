"""Controls by name: what steadies the output of a trained image system without any training.

    Constant alpha 0.5     the past along the homography and the present averaged, the past with this weight
    Flow average 0.5       the same along dense optical flow
    Majority vote 5        the class that most of the last so many label maps name, carried along the homography
    One-euro filter 0.9    the one-euro filter on logits along the homography; the past's weight where nothing changes

Each is built on Base, or on the image system named in brackets: "Constant alpha 0.5 (KD Base)".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from sspcore.models.spec import FilterOptions, OneEuroOptions, SSPOptions, VoteOptions

AVERAGING = "Constant alpha"
CONTROL_EXAMPLES = f"a control such as '{AVERAGING} 0.5' or 'Majority vote 5'"  # for errors
RIVALS = ("Majority vote 5", "Flow average 0.5", "Flow average 0.7", "One-euro filter 0.7", "One-euro filter 0.9")

# What a control is called -> its method, and the options that its number stands for.
_KINDS: dict[str, tuple[str, Callable[[float], SSPOptions | FilterOptions]]] = {
    AVERAGING: ("ssp", lambda alpha: SSPOptions(similarity="constant", alpha=alpha)),
    "Flow average": ("ssp", lambda alpha: SSPOptions(similarity="constant", alpha=alpha, registration="flow")),
    "Majority vote": ("filter_vote", lambda frames: VoteOptions(frames=frames)),
    "One-euro filter": ("filter_euro", lambda at_rest: OneEuroOptions(at_rest=at_rest)),
}
_NAME = re.compile(rf"(?P<kind>{'|'.join(_KINDS)}) (?P<number>\d*\.?\d+)(?: \((?P<image>.+)\))?")


@dataclass(frozen=True)
class Control:
    """A control: its name, the image system that it is built on, and how it is built (see `SystemSpec`)."""

    name: str
    image: str
    method: str
    options: SSPOptions | FilterOptions


def make_control(kind: str, number: float, image: str = "Base") -> Control:
    """The control of a kind and number on an image system. Raises: pydantic's ValidationError for an impossible number."""
    method, options = _KINDS[kind]
    return Control(f"{kind} {number:g}" + ("" if image == "Base" else f" ({image})"), image, method, options(number))


def named_control(name: str) -> Control | None:
    """The control of a name; None for every other name."""
    match = _NAME.fullmatch(name)
    try:
        return match and make_control(match["kind"], float(match["number"]), match["image"] or "Base")
    except ValidationError:
        return None
