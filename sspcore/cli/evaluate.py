"""`sspcore evaluate`: score folders of label maps of any origin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sspcore.cli.common import Numbers, Overwrite, listed
from sspcore.core.errors import SspError


def evaluate(
    predictions: Annotated[Path, typer.Option(metavar="DIR", help="Label maps: a subfolder for each clip, or one clip.")],
    frames: Annotated[Path, typer.Option(metavar="PATH", help="Images under the same names, or a video.")],
    labels: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="True label maps under the same names, on some or all frames; or COCO's JSON."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="Number of classes: label values are 0 to N-1, and 255 for ignored pixels.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="In place of --classes: a data set's name or dataset.yaml.")
    ] = None,
    palette: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="In place of --classes: colours of maps, as labelmap.txt or YAML (name: [r, g, b])."),
    ] = None,
    first_frame: Annotated[
        int | None, typer.Option(metavar="N", help="The number that names give to a video's first frame (default: 0).")
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

    Label maps are PNG files whose values are class ids, 255 for ignored pixels, or colours. Labels may also have the forms of
    their data set.
    """
    from sspcore.core.files import require_output, write_json
    from sspcore.core.parallel import quiet_decoder
    from sspcore.core.paths import FLOW_CACHE
    from sspcore.core.provenance import git_commit
    from sspcore.data.datasets import open_dataset
    from sspcore.evaluation.folders import find_clips, score_folders, table
    from sspcore.evaluation.label_maps import read_palette
    from sspcore.motion.cache import FlowStore
    from sspcore.motion.flow import build_flow

    if sum(given is not None for given in (classes, dataset, palette)) != 1:
        raise SspError("one of --classes N, --dataset NAME and --palette FILE is needed, and no more")
    spec = open_dataset(dataset) if dataset else read_palette(palette) if palette else None
    n_classes = spec.n_classes if spec else classes
    if not 1 <= n_classes <= 254:
        raise SspError(f"--classes {n_classes}: take 1..254 (255 marks ignored pixels)")
    ids = sorted(moving) if moving is not None else list(spec.moving_ids) if spec else []
    if any(not 0 <= number < n_classes for number in ids):
        raise SspError(f"--moving {','.join(map(str, moving))}: expected class ids within 0..{n_classes - 1}")
    quiet_decoder()
    inputs, cache = (predictions, frames, labels), flow_cache or FLOW_CACHE
    require_output(cache, inputs, overwrite=True)
    if json is not None:
        require_output(json, inputs, overwrite)
    clips = find_clips(predictions, frames, labels, first_frame, getattr(spec, "first_frame", None))
    scores = score_folders(clips, n_classes, FlowStore(cache, build_flow(flow), None), ids, spec)
    if json is not None:
        origin = {"predictions": str(predictions), "frames": str(frames), "labels": None if labels is None else str(labels)}
        names = spec.classes if spec else None
        write_json(json, origin | {"n_classes": n_classes, "classes": names, "moving": ids, "commit": git_commit()} | scores)
    print(table(scores), end="")
