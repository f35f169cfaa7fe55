"""Commands about speed and size: complexity (counted, on any machine) and benchmark (measured, on a GPU)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sspcore.cli.common import Names, Overwrite, Profile, listed


def complexity(
    profile: Profile = "paper",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of the table.")] = False,
    fps: Annotated[bool, typer.Option("--fps", help="Measure frames per second too.")] = False,
    device: Annotated[str, typer.Option(help="For --fps: cpu, cuda, cuda:1.")] = "cpu",
    frames: Annotated[int, typer.Option(min=1, help="For --fps: timed frames.")] = 50,
    warm_up: Annotated[int, typer.Option(min=0, help="For --fps: frames before them.")] = 10,
    precision: Annotated[Literal["float32", "float16"], typer.Option(help="For --fps.")] = "float32",
    compile: Annotated[bool, typer.Option("--compile", help="For --fps: torch.compile the step.")] = False,
) -> None:
    """Count parameters and multiply-adds of every system.

    Beside the published figures; nothing is downloaded.
    """
    from dataclasses import asdict
    from json import dumps

    from sspcore.study.cost import costs, table

    speed = {"device": device, "frames": frames, "warm_up": warm_up, "precision": precision, "compiled": compile}
    rows = costs(profile, speed if fps else None)
    print(dumps([asdict(row) for row in rows], indent=1) if json else table(rows))


def benchmark(
    profile: Profile = "paper",
    device: Annotated[str, typer.Option(help="cuda, cuda:1; cpu for a trial.")] = "cuda",
    minutes: Annotated[float, typer.Option(min=0.1, help="For everything; what is left out is listed.")] = 8.0,
    systems: Annotated[Names | None, listed(Names, "Systems of the table (default: all).")] = None,
    only: Annotated[
        Names | None, listed(Names, "Parts of these names: streams,live,training,ranks,estimators,compiled (default: all).")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: figures/hardware/<gpu>.json.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Time every system on this machine's GPU.

    Training steps, frame rates and memory in several precisions, within a number of minutes.
    """
    from sspcore.core.files import read_json
    from sspcore.study.benchmark.run import benchmark as run
    from sspcore.study.benchmark.tables import text

    written = run(profile, device, minutes, out, overwrite, systems, only)
    print(text(read_json(written)))
    print(f"written: {written}")
