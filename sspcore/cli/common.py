"""What several commands have: options, lists in one option, the checkpoint, the line of an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sspcore.core.paths import SAMPLE

if TYPE_CHECKING:
    from sspcore.core.types import VideoSegmenter
    from sspcore.models.checkpoint import CheckpointConfig

MAX_SIDE = 16_384  # pixels; beyond that a run would only show how much memory there is


class Names(tuple):
    """Names separated by commas: "Base, SSP" -> ("Base", "SSP")."""

    def __new__(cls, text: str) -> Names:
        return super().__new__(cls, (name.strip() for name in text.split(",") if name.strip()))


class Numbers(tuple):
    """Whole numbers separated by commas: "0,1,1" -> (0, 1)."""

    def __new__(cls, text: str) -> Numbers:
        try:
            return super().__new__(cls, dict.fromkeys(int(part) for part in text.split(",")))
        except ValueError as error:
            raise typer.BadParameter(f"'{text}': expected whole numbers separated by commas, such as 0,1,2") from error


class FrameSize(tuple):
    """Height and width: "736x1280" -> (736, 1280)."""

    def __new__(cls, text: str) -> FrameSize:
        sides = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
        if sides is None or not all(1 <= int(side) <= MAX_SIDE for side in sides.groups()):
            raise typer.BadParameter(f"'{text}': write HEIGHTxWIDTH, such as 736x1280, each 1 to {MAX_SIDE}")
        return super().__new__(cls, map(int, sides.groups()))


def listed(kind: type[tuple], help: str) -> Any:
    """An option that takes a list in one word."""
    return typer.Option(parser=kind, metavar="LIST", help=help)


Checkpoint = Annotated[
    str | None,
    typer.Option(metavar="DIR", show_default=False, help="Folder or hub id of a trained system (default: the packaged SSP)."),
]
Size = Annotated[
    FrameSize | None,
    typer.Option(parser=FrameSize, metavar="HxW", help="Of the frames (default: the checkpoint's).", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there already.")]
Profile = Annotated[
    str, typer.Option(metavar="NAME", help="smoke, demo, paper, paper-equal-steps, paper-reference, or a YAML file."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of training (default: the profile's).", show_default=False)]
Workers = Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes, one thread each (default: one a core).")]
Root = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of artefacts (default: data).")]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the real releases, for --profile paper.")]
Datasets = Annotated[Names | None, listed(Names, "uavid,ruralscapes (default: the profile's).")]
Systems = Annotated[Names | None, listed(Names, "Systems of the table, separated by commas (default: the profile's).")]


def open_checkpoint(checkpoint: str | None) -> tuple[VideoSegmenter, CheckpointConfig]:
    """The model of --checkpoint and its config; without one the packaged model, which is said."""
    from sspcore.models.checkpoint import load_checkpoint

    if checkpoint is not None:
        return load_checkpoint(checkpoint)
    model, config = load_checkpoint(SAMPLE)
    print(f"no --checkpoint: {config.system} as packaged is used, trained on {config.data or 'rendered data'}", file=sys.stderr)
    return model, config


def fail(message: str, status: int) -> int:
    """Print an error as one line and return the exit status."""
    print(f"error: {message}", file=sys.stderr)
    return status
