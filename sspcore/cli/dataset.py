"""The command about own data: init-dataset (a first dataset.yaml)."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from sspcore.cli.common import Overwrite


def init_dataset(
    folder: Annotated[Path, typer.Argument(help="Holds videos or pictures, and labels of some of them.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write (default: FOLDER/dataset.yaml).", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Describe your own data: write a first dataset.yaml.

    Looks at the videos, folders of frames, pictures and labels in FOLDER: colour, grey and palette PNG, CVAT's Segmentation
    mask, COCO and LabelMe JSON. Read the file through: what is a guess says so.
    """
    from sspcore.core.parallel import quiet_decoder
    from sspcore.data.draft import draft_dataset

    quiet_decoder()
    draft = draft_dataset(folder, out, overwrite)
    for note in draft.notes:
        print(f"note: {note}")
    print(f"{draft.path}: {draft.summary}")
    print("Read it through, then:")
    print(f"  sspcore check --dataset {quote(str(draft.path))}")
    print(f"  sspcore reproduce --profile demo --dataset {quote(str(draft.path))}")
