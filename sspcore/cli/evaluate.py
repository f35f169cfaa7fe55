"""`sspcore evaluate`: score folders of label maps of any origin."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sspcore.core.errors import SspError
from sspcore.core.files import require_output, write_json
from sspcore.core.paths import FLOW_CACHE
from sspcore.core.provenance import git_commit
from sspcore.data.datasets import SPECS
from sspcore.evaluation.folders import FlowCache, find_clips, score_folders, table
from sspcore.motion.flow import FLOW_NAMES, build_flow


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line of `python -m sspcore.cli.evaluate`."""
    parser = argparse.ArgumentParser("sspcore.evaluation.clips", description="Score label maps (PNG folders) with all metrics.")
    parser.add_argument("--predictions", type=Path, required=True, help="label maps: one subfolder a clip, or flat = one clip")
    parser.add_argument("--frames", type=Path, required=True, help="the images, PNG or JPEG, under the same names")
    parser.add_argument("--labels", type=Path, help="true label maps under the same names, on some or all frames")
    classes = parser.add_mutually_exclusive_group(required=True)
    classes.add_argument("--classes", type=int, help="number of classes: label values are 0..N-1, and 255 for ignored pixels")
    classes.add_argument("--dataset", choices=tuple(SPECS), help="take classes and moving classes of this data set")
    parser.add_argument("--moving", help="ids of the classes that move by themselves, such as 3,4 (for miou_moving and lag)")
    parser.add_argument("--flow", choices=FLOW_NAMES, default="dis-medium", help="flow estimator (default: dis-medium)")
    parser.add_argument("--flow-cache", type=Path, default=FLOW_CACHE, help="where flow is kept (default: data/flow-cache)")
    parser.add_argument("--json", type=Path, help="write all figures to this file, per class and per clip too")
    parser.add_argument("--overwrite", action="store_true", help="write over the file of --json if it is there already")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Score folders of label maps; returns the exit status: 0 done, 2 something is wrong with the input."""
    options = parse_arguments(arguments)
    try:
        n_classes = SPECS[options.dataset].n_classes if options.dataset else options.classes
        if not 1 <= n_classes <= 254:
            raise SspError(f"--classes {n_classes}: take 1..254 (255 marks ignored pixels)")
        moving = _moving_ids(options, n_classes)
        inputs = (options.predictions, options.frames, options.labels)
        require_output(options.flow_cache, inputs, overwrite=True)
        if options.json is not None:
            require_output(options.json, inputs, options.overwrite)
        clips = find_clips(options.predictions, options.frames, options.labels)
        scores = score_folders(clips, n_classes, FlowCache(options.flow_cache, build_flow(options.flow)), moving)
        if options.json is not None:
            folders = {name: getattr(options, name) for name in ("predictions", "frames", "labels")}
            origin = {name: None if path is None else str(path) for name, path in folders.items()}
            names = SPECS[options.dataset].classes if options.dataset else None
            settings = {"n_classes": n_classes, "classes": names, "moving": moving, "commit": git_commit()}
            write_json(options.json, origin | settings | scores)
    except (SspError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(table(scores))
    return 0


def _moving_ids(options: argparse.Namespace, n_classes: int) -> list[int]:
    if options.moving is None:
        return list(SPECS[options.dataset].moving_ids) if options.dataset else []
    try:
        ids = sorted({int(part) for part in options.moving.split(",")})
    except ValueError:
        ids = [-1]
    if ids[0] < 0 or ids[-1] >= n_classes:
        raise SspError(f"--moving {options.moving}: expected class ids within 0..{n_classes - 1}, separated by commas")
    return ids


if __name__ == "__main__":
    sys.exit(main())
