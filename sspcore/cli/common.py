"""What several commands have: options, lists in one option, the checkpoint, the line of an error."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sspcore.core.errors import SspError, reason
from sspcore.core.paths import SAMPLE

if TYPE_CHECKING:
    from torch import nn

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
Image = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION", show_default=False,
        help="Where the checkpoint is on an image model of your own code: the function that makes it, in a module that is "
        "installed or lies in this folder.",
    ),
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
DatasetFiles = Annotated[
    list[str] | None,
    typer.Option("--dataset", metavar="FILE", help="A data set of your own: its dataset.yaml. Several: repeat it, or commas."),
]
Datasets = Annotated[Names | None, listed(Names, "uavid,ruralscapes (default: the profile's).")]
Systems = Annotated[Names | None, listed(Names, "Systems of the table, separated by commas (default: the profile's).")]


def own_files(options: list[str] | None) -> tuple[Path, ...] | None:
    """The files of --dataset, which may be repeated or hold several separated by commas; None where it is not given.

    Raises: SspError if it is given and names none.
    """
    if not options:
        return None
    parts = (part for option in options for part in ([option] if Path(option).exists() else option.split(",")))
    if not (files := tuple(Path(part.strip()) for part in parts if part.strip())):
        raise SspError("--dataset: names no file; give a dataset.yaml, or the folder that holds one")
    return files


def open_checkpoint(checkpoint: str | None, image: str | None = None) -> tuple[VideoSegmenter, CheckpointConfig]:
    """The model of --checkpoint and its config; without one the packaged model, which is said. `image`: of --image."""
    from sspcore.models.checkpoint import load_checkpoint

    if checkpoint is not None:
        return load_checkpoint(checkpoint, None if image is None else own_image(image))
    if image is not None:
        raise SspError("--image: goes with the --checkpoint that is on it; name that too")
    model, config = load_checkpoint(SAMPLE)
    print(f"no --checkpoint: {config.system} as packaged is used, trained on {config.data or 'rendered data'}", file=sys.stderr)
    return model, config


def own_image(name: str) -> nn.Module:
    """The image model that the user's own MODULE:FUNCTION makes. Raises: SspError."""
    module, _, function = name.partition(":")
    if not (module and function):
        raise SspError(f"--image {name}: write MODULE:FUNCTION, such as mynetwork:build for build() in mynetwork.py")
    sys.path.append(os.getcwd())  # last, so that a file there is never taken for a library
    try:
        build = getattr(importlib.import_module(module), function)
    except Exception as error:  # the user's code may raise anything
        problem = f"cannot be imported ({type(error).__name__}: {reason(error)})"
        raise SspError(f"--image {name}: {problem}; run where {module} lies, or install it") from error
    try:
        return build()
    except Exception as error:
        raise SspError(f"--image {name}: {function}() fails ({type(error).__name__}: {reason(error)}); correct it") from error


def fail(message: str, status: int) -> int:
    """Print an error as one line and return the exit status."""
    print(f"error: {message}", file=sys.stderr)
    return status
