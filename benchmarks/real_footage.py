"""SSP on real footage: python benchmarks/real_footage.py FOLDER [--seeds 0,1,2] [--json FILE].

FOLDER holds the clips and labelled stills that docs/real_footage.md names; none of it is part of this repository, and it is
only read. Systems of the demo profile learn from the stills and from the first half of each clip, which has no labels. mIoU
is scored on the stills called tile_*, consistency on the second halves of the clips, beside the same warp with a constant
alpha.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import common
from sspcore.data.clips import Clip
from sspcore.evaluation.clips import read_prediction, score_all
from sspcore.metrics.records import warp_labels
from sspcore.report.figures import flicker_mask
from sspcore.study import Study
from sspcore.study.engine.make import make

NAME = "footage"
SYSTEMS = ("Base", "SSP", "KD Base", "KD-SSP")
STILL_CAMERA = ("nadir", "rural")  # hovers
DESCRIPTION = {
    "title": "Real footage",
    "classes": {
        "road": [128, 64, 128], "vegetation": [148, 148, 40], "tree": [0, 110, 30], "vehicle": [150, 0, 200],
        "building": [128, 0, 0],
    },
    "moving": ["vehicle"],
    "labels": {
        "clutter": [0, 0, 0], "building": [128, 0, 0], "road": [128, 64, 128], "tree": [0, 128, 0],
        "low vegetation": [128, 128, 0], "moving car": [64, 0, 128], "static car": [192, 0, 192], "human": [64, 64, 0],
    },
    # human is overcounted along borders in these labels
    "label_classes": {
        "clutter": None, "human": None, "low vegetation": "vegetation", "moving car": "vehicle", "static car": "vehicle",
    },
    "files": {
        "video": "{sequence}/*.mp4", "frames": "uav123/{sequence}/{frame}.jpg", "stills": "uavid_stills/frames/{still}.png",
        "still_labels": "uavid_stills/labels/{still}.png",
    },
    "validation": ["tile_*"],
    "validation_share": 0.5,
}


def described(footage: Path, folder: Path) -> Path:
    """The description of the data set, beside links to the footage, which is not written to."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in footage.iterdir():
        link = folder / entry.name
        if entry.is_dir() and not link.exists():
            link.symlink_to(entry.resolve())
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(DESCRIPTION, sort_keys=False), encoding="utf-8")
    return path


def consistency(study: Study, name: str, clips: list[Clip]) -> dict[str, float]:
    """TC, flicker and the share of pixels that change along the flow, of one video's clips."""
    size, flows = study.profile.input_size, study.flows(NAME, study.profile.metric_flow)
    predictions = study.predict(name, NAME)
    maps_of = {name: lambda clip: (read_prediction(predictions, clip, k) for k in range(len(clip)))}
    figures = score_all(clips, maps_of, study.spec(NAME), flows, None, size, f"{name}, {clips[0].sequence}")[name]
    changed = []
    for clip in clips:
        maps = [read_prediction(predictions, clip, k) for k in range(len(clip))]
        for k in range(1, len(clip)):
            flow = flows.between(clip, k, k - 1).numpy()
            seen = warp_labels(maps[k - 1], flow) != 255
            changed.append(flicker_mask(maps[k], maps[k - 1], flow).sum() / max(1, seen.sum()))
    return {"tc": figures["tc"], "flicker": figures["flicker"], "changed": float(np.mean(changed))}


def rows(study: Study) -> list[dict[str, Any]]:
    """A row a system and control."""
    names = [*SYSTEMS, *study.controls(SYSTEMS)]
    scored = study.evaluate_all(names, (NAME,))
    videos: dict[str, list[Clip]] = defaultdict(list)
    for clip in study.clips(NAME, "val"):
        if len(clip) > 1:
            videos[clip.sequence].append(clip)
    return [
        {
            "seed": study.seed, "system": row["system"], "miou": row["miou"], "per_class_iou": row["per_class_iou"],
            "training_steps": row["training_steps"],
            "clips": {video: consistency(study, row["system"], clips) for video, clips in videos.items()},
        }
        for row in scored
    ]


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds: of each system's mIoU, and of its TC, flicker and changes on each clip."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(row["system"] for row in found):
        ours = [row for row in found if row["system"] == name]
        clips = {
            video: {key: spread([row["clips"][video][key] for row in ours]) for key in ("tc", "flicker", "changed")}
            for video in ours[0]["clips"]
        }
        result[name] = {"miou": spread([row["miou"] for row in ours]), "clips": clips}
    return result


def spread(values: list[float]) -> dict[str, float]:
    """Mean and sample standard deviation, which is 0 of a single value."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--root", type=Path, required=True, help="folder for the description and all artefacts")
    common.add_json(parser, "real_footage")
    options = parser.parse_args()
    path = described(options.footage, options.root / "data")
    found, frames = [], {}
    for seed in map(int, options.seeds.split(",")):
        study = Study.open(options.profile, seed, dataset=path, root=options.root, maker=make)
        found += rows(study)
        frames = {
            split: {
                "labelled stills": sum(len(clip) == 1 for clip in study.clips(NAME, split)),
                "frames without a label": sum(len(clip) for clip in study.clips(NAME, split) if len(clip) > 1),
            }
            for split in ("train", "val")
        }
    report = {"data": frames, "still_camera": list(STILL_CAMERA), "summary": summary(found), "rows": found}
    common.write(report, options, options.profile, data="real footage, see docs/real_footage.md")


if __name__ == "__main__":
    main()
