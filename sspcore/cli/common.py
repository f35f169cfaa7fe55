"""What several commands have: options, lists in one option, the line of an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


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


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that are there already.")]
Profile = Annotated[str, typer.Option(metavar="NAME", help="smoke, demo, paper, or a YAML file.")]
Seed = Annotated[int | None, typer.Option(help="Seed of training (default: the profile's).", show_default=False)]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the real releases, for --profile paper.")]
Datasets = Annotated[
    Names | None, typer.Option(parser=Names, metavar="LIST", help="uavid,ruralscapes (default: the profile's).")
]
Systems = Annotated[
    Names | None,
    typer.Option(parser=Names, metavar="LIST", help="Systems of the table, separated by commas (default: the profile's)."),
]


def fail(message: str, status: int) -> int:
    """Print an error as one line and return the exit status."""
    print(f"error: {message}", file=sys.stderr)
    return status
