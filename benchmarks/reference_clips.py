"""Our clips against those of the reference's own tools: python benchmarks/reference_clips.py --reference DIR [--json FILE].

DIR is a checkout of the paper's reference code (METHOD, at its top), which is no part of this project: its programs run as
they are, each in a process of its own, on copies of rendered releases in the published layouts. Two cases a data set:

- "small": several rendered sequences of different lengths, so that every rule for clips is met; frames keep their size.
- "published": one sequence a split at the size of the real release, whose frames are resized to 2560x1440 when they are
  stored. A rendered release of a quarter of that size is enlarged; its labels get edges that are ragged to the pixel.

Compared are the clips, their frames and labels, the stored frames and label ids, and what enters the networks: the pairs
that the reference's loader gives against our training windows, at the student's size and at the teacher's.

The reference's loader imports albumentations (1.4) and scikit-image, which are not installed here: --packages names a folder
with them (pip install --target FOLDER --no-deps albumentations==1.4.18 albucore==0.0.17 scikit-image eval-type-backport
lazy_loader imageio tifffile).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import common
from reference_releases import SEED, published_release, small_release
from sspcore.core.classes import IGNORE
from sspcore.core.images import IMAGENET_STD, read_grey, read_rgb
from sspcore.core.store import seal
from sspcore.core.types import Size
from sspcore.data.clips import Clip, load_clips
from sspcore.data.datasets import SPECS
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.data.releases import SPLITS
from sspcore.data.windows import WindowDataset, collate, labelled_windows
from sspcore.study.profiles import load_profile

GREY_LEVELS = 255 * np.array(IMAGENET_STD, np.float32)[:, None, None]  # of one unit of the network's input


@dataclass(frozen=True)
class Reference:
    """The reference's programs."""

    checkout: Path
    packages: Path | None

    def run(self, script: Path, *arguments: object, loader: bool = False) -> None:
        """Run a Python program in a process of its own. Raises SystemExit with its last line if it fails."""
        paths = [str(path) for path in ([self.checkout, self.packages] if loader else []) if path is not None]
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "NO_ALBUMENTATIONS_UPDATE": "1"}
        command = [sys.executable, str(script), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{script}: failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")

    def organise(self, dataset: str, release: Path, folder: Path, resize: bool) -> Path:
        """Clips that its tools make of a copy of a release in `folder`; returns the folder of data/, train.txt and val.txt."""
        tools, option = self.checkout / "tools", ["--resize"] if resize else []
        if dataset == "uavid":
            source, made = folder / "uavid_v1.5_official_release", folder / "UAVid"
            shutil.copytree(release, source)
            (source / "UAVid7").rename(folder / "UAVid7")
        else:
            source, made = folder / "Ruralscapes", folder / "ruralscapes"
            shutil.copytree(release, source)
        self.run(tools / f"extract_frames_{dataset}.py", "--dataset_path", source, *option)
        self.run(tools / f"organize_{dataset}.py", "--dataset_dir", folder)
        return made

    def load(self, dataset: str, folder: Path, size: Size, out: Path) -> None:
        """What its loader gives at a size, one file a pair (see reference_loader.py)."""
        self.run(Path(__file__).with_name("reference_loader.py"), dataset, folder, *size, out, loader=True)


@dataclass(frozen=True)
class TheirClip:
    """A clip that the reference's tools made: its folder, and the frame numbers of its images and masks."""

    folder: Path
    frames: dict[int, Path]
    masks: dict[int, Path]


class Difference:
    """Largest and mean absolute difference over many arrays."""

    def __init__(self) -> None:
        self.largest, self._sum, self._count = 0.0, 0.0, 0

    def add(self, ours: np.ndarray, theirs: np.ndarray) -> None:
        apart = np.abs(ours.astype(np.float32) - theirs.astype(np.float32))
        self.largest = max(self.largest, float(apart.max()))
        self._sum, self._count = self._sum + float(apart.sum(dtype=np.float64)), self._count + apart.size

    def report(self) -> dict[str, float]:
        return {"largest": self.largest, "mean": self._sum / max(1, self._count)}


def their_clips(made: Path) -> dict[tuple[str, str, int], TheirClip]:
    """Clips by (split, sequence, number of the first frame)."""
    def numbered(folder: Path) -> dict[int, Path]:
        return {int(path.stem.split("_")[-1]): path for path in sorted(folder.glob("*.png"))}

    clips = {}
    for split in SPLITS:
        for name in (made / f"{split}.txt").read_text(encoding="utf-8").split():
            frames, masks = (numbered(made / "data" / name / kind) for kind in ("origin", "mask"))
            sequence = name.split("_", 1)[1].rsplit("_", 1)[0]
            clips[split, sequence, min(frames)] = TheirClip(made / "data" / name, frames, masks)
    return clips


def compare(
    dataset: str, release: Path, rules: ClipRules, sizes: list[Size], reference: Reference, work: Path
) -> dict[str, Any]:
    """Prepare a release both ways and count what differs."""
    theirs_at = reference.organise(dataset, release, work / "theirs", resize=rules.store_size is not None)
    spec = SPECS[dataset]
    prepare_clips(release, spec, rules, work / "ours")
    seal(work / "ours", "comparison", "clips", 0.0)
    theirs = their_clips(theirs_at)
    ours = {
        (clip.split, clip.sequence, clip.numbers[0]): clip
        for split in SPLITS for clip in load_clips(work / "ours", split, cache_mb=0)
    }
    report: dict[str, Any] = {
        "clips": len(ours), "clips_only_ours": sorted(map(str, ours.keys() - theirs)),
        "clips_only_theirs": sorted(map(str, theirs.keys() - ours)), "frames": 0, "frames_in_one_only": 0,
        "labels": 0, "labels_in_one_only": 0, "label_pixels": 0, "label_pixels_that_differ": 0,
        "clips_without_a_label": sum(not clip.labelled for clip in ours.values()),
    }
    stored = Difference()
    for key in ours.keys() & theirs:
        _compare_clip(ours[key], theirs[key], stored, report)
    report["stored_frames_grey_levels"] = stored.report()
    report["network_input"] = [
        _compare_input(dataset, list(ours.values()), theirs, theirs_at, size, reference, work / "loaded") for size in sizes
    ]
    return report


def _compare_clip(clip: Clip, their: TheirClip, stored: Difference, report: dict[str, Any]) -> None:
    labelled = {clip.numbers[k] for k in clip.labelled}
    report["frames"] += len(clip)
    report["labels"] += len(labelled)
    report["frames_in_one_only"] += len(set(clip.numbers) ^ their.frames.keys())
    report["labels_in_one_only"] += len(labelled ^ their.masks.keys())
    for k, number in enumerate(clip.numbers):
        if number in their.frames:
            stored.add(clip.frame(k, clip.stored_size), read_rgb(their.frames[number]))
        if number in labelled & their.masks.keys():
            mask = read_grey(their.masks[number])  # 0: ignored, else a class and one
            ids = clip.label(k, mask.shape)
            report["label_pixels"] += ids.size
            report["label_pixels_that_differ"] += int((ids != np.where(mask == 0, IGNORE, mask - 1)).sum())


def _compare_input(
    dataset: str, clips: list[Clip], theirs: dict[tuple[str, str, int], TheirClip], made: Path, size: Size,
    reference: Reference, loaded: Path,
) -> dict[str, Any]:
    """Our training windows of two frames, not augmented, against the pairs of the reference's loader."""
    shutil.rmtree(loaded, ignore_errors=True)
    reference.load(dataset, made, size, loaded)
    known = {
        (split, path.stem): path for split in SPLITS for path in (loaded / split).glob("*.npz")
    }
    windows = WindowDataset(labelled_windows(clips, 2), 2, size, augment=lambda sample: sample, seed=0)
    tensors, pairs, pixels, wrong = Difference(), 0, 0, 0
    for ref in windows.refs:
        number = ref.clip.numbers[ref.last]
        their = theirs[ref.clip.split, ref.clip.sequence, ref.clip.numbers[0]]
        with np.load(known.pop((ref.clip.split, f"{their.folder.name}_{their.frames[number].stem}"))) as pair:
            window = collate([windows.sample(ref)])
            tensors.add(GREY_LEVELS * window.frames[0].numpy(), GREY_LEVELS * pair["frames"])
            labels = window.labels[0, -1].numpy()
            wrong += int((labels != pair["label"]).sum())
        pairs, pixels = pairs + 1, pixels + labels.size
    return {
        "size": list(size), "pairs": pairs, "pairs_only_theirs": len(known), "label_pixels": pixels,
        "label_pixels_that_differ": wrong, "frames_grey_levels": tensors.report(),
    }


def measure(dataset: str, case: str, reference: Reference, root: Path) -> dict[str, Any]:
    """One data set in one case."""
    profile = load_profile("paper")
    rules = profile.clips[dataset]
    if case == "small":
        release, sizes = small_release(dataset, root), [(64, 96)]
        rules = rules.model_copy(update={"store_size": None})
    else:
        release, sizes = published_release(dataset, root), [profile.input_size, profile.teacher_size]
    with tempfile.TemporaryDirectory(dir=root) as work:
        return compare(dataset, release, rules, sizes, reference, Path(work))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True, help="checkout of the paper's reference code")
    parser.add_argument("--packages", type=Path, help="folder with the packages that its loader imports")
    parser.add_argument("--work", type=Path, help="keep the rendered releases here, for another run")
    parser.add_argument("--cases", nargs="+", default=["small", "published"], choices=["small", "published"])
    common.add_json(parser, "reference_clips")
    options = parser.parse_args()
    if not (options.reference / "process_dataset.sh").is_file():
        raise SystemExit(f"{options.reference}: no checkout of the reference code (no process_dataset.sh); nothing is compared")
    reference = Reference(options.reference.resolve(), options.packages and options.packages.resolve())
    with tempfile.TemporaryDirectory() as temporary:
        root = options.work or Path(temporary)
        report = {case: {dataset: measure(dataset, case, reference, root) for dataset in SPECS} for case in options.cases}
    options.reference, options.packages, options.work = None, None, None  # folders of this machine: of no effect on the figures
    common.write(report, options, "paper", SEED, "rendered releases")


if __name__ == "__main__":
    main()
