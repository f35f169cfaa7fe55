"""`sspcore evaluate`: score folders of label maps of any origin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sspcore.cli.common import Numbers, Overwrite, listed
from sspcore.core.errors import SspError


def evaluate(
    predictions: Annotated[Path, typer.Option(metavar="DIR", help="Label maps: a subfolder for each clip, or one clip.")],
    frames: Annotated[Path, typer.Option(metavar="DIR", help="The images, PNG or JPEG, under the same names.")],
    labels: Annotated[
        Path | None, typer.Option(metavar="DIR", help="True label maps under the same names, on some or all frames.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="Number of classes: label values are 0 to N-1, and 255 for ignored pixels.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="In place of --classes: classes and moving classes of this data set.")
    ] = None,
    moving: Annotated[Numbers | None, listed(Numbers, "Ids of classes that move by themselves, such as 3,4.")] = None,
    flow: Annotated[str, typer.Option(metavar="NAME", help="Flow estimator: dis-fast, dis-medium, raft-8, ...")] = "dis-medium",
    flow_cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Where flow is kept between runs.")] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all figures to this file, per class and per clip too.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score label maps of any model with all metrics.

    Label maps are PNG files whose values are class ids; 255 marks ignored pixels.
    """
    from sspcore.core.files import require_output, write_json
    from sspcore.core.paths import FLOW_CACHE
    from sspcore.core.provenance import git_commit
    from sspcore.data.datasets import SPECS
    from sspcore.evaluation.folders import find_clips, score_folders, table
    from sspcore.motion.cache import FlowStore
    from sspcore.motion.flow import build_flow

    if (classes is None) == (dataset is None):
        raise SspError("one of --classes N and --dataset NAME is needed, and not both")
    if dataset is not None and dataset not in SPECS:
        raise SspError(f"--dataset {dataset}: unknown; choose from {', '.join(SPECS)}, or give --classes N")
    spec = SPECS.get(dataset)
    n_classes = spec.n_classes if spec else classes
    if not 1 <= n_classes <= 254:
        raise SspError(f"--classes {n_classes}: take 1..254 (255 marks ignored pixels)")
    ids = sorted(moving) if moving is not None else list(spec.moving_ids) if spec else []
    if any(not 0 <= number < n_classes for number in ids):
        raise SspError(f"--moving {','.join(map(str, moving))}: expected class ids within 0..{n_classes - 1}")
    inputs, cache = (predictions, frames, labels), flow_cache or FLOW_CACHE
    require_output(cache, inputs, overwrite=True)
    if json is not None:
        require_output(json, inputs, overwrite)
    clips = find_clips(predictions, frames, labels)
    scores = score_folders(clips, n_classes, FlowStore(cache, build_flow(flow), None), ids)
    if json is not None:
        origin = {"predictions": str(predictions), "frames": str(frames), "labels": None if labels is None else str(labels)}
        names = spec.classes if spec else None
        write_json(json, origin | {"n_classes": n_classes, "classes": names, "moving": ids, "commit": git_commit()} | scores)
    print(table(scores), end="")
