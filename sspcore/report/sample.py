"""The packaged sample: a trained SSP of the demo and a short clip, for a tour without rendering or training.

`data/sample/` is a checkpoint folder with a clip and a manifest beside the weights, and part of the repository. `sspcore
sample` makes it again from a finished run. Frames are stored without loss, matrices in half precision; the manifest says
what that changes in the class maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sspcore.core.checksums import sha256
from sspcore.core.classes import ClassSpec
from sspcore.core.errors import ArtefactError
from sspcore.core.files import atomic_folder, read_json, write_json
from sspcore.core.images import write_image
from sspcore.core.paths import FLOW_CACHE, SAMPLE
from sspcore.core.provenance import provenance
from sspcore.core.store import KEY_FILE, stable_hash
from sspcore.core.types import Size, VideoSegmenter
from sspcore.data.clips import Clip, load_clips
from sspcore.data.datasets import SPECS
from sspcore.data.truth import exact_labels
from sspcore.evaluation.clips import clip_records
from sspcore.inference.motion import motion_for
from sspcore.inference.stream import Segmented, segment_frames
from sspcore.metrics import MetricSuite
from sspcore.models.checkpoint import CARD, CheckpointConfig, read_config, save_checkpoint, system_config
from sspcore.models.ssp import SSP
from sspcore.models.systems import image_spec
from sspcore.motion.cache import FlowStore
from sspcore.motion.flow import build_flow
from sspcore.motion.registration import build_registrator
from sspcore.report.collect import typical_clip
from sspcore.report.figures import flicker_mask
from sspcore.report.scores import in_percent
from sspcore.report.style import origin_line
from sspcore.report.tables import template
from sspcore.study import Study

MANIFEST = "sample.json"
SYSTEM, ALONE = "SSP", "image model alone"  # its own image model flickers as Base does: one checkpoint shows before and after
SCORES = ("miou", "tc")
_SPLIT = "val"


@dataclass(frozen=True)
class Sample:
    """The sample, its files verified: where it lies, its scores and checksums, what the model is."""

    folder: Path
    manifest: dict[str, Any]
    config: CheckpointConfig

    @property
    def spec(self) -> ClassSpec:
        return self.config.classes

    @property
    def size(self) -> Size:
        """(H, W) of frames, labels and predictions."""
        return self.config.input_size

    @property
    def origin(self) -> str:
        """Which data, profile, seed and commit, in one line."""
        return origin_line(self.config.provenance)

    @cached_property
    def clip(self) -> Clip:
        """The clip; every frame has a label."""
        return load_clips(self.folder / "clips", _SPLIT)[0]

    @cached_property
    def flows(self) -> FlowStore:
        """Flow between neighbouring frames, estimated on first use."""
        root = FLOW_CACHE / f"sample-{stable_hash(self.manifest['sha256'])[:8]}"
        return FlowStore(root, build_flow(self.config.flow), self.size)

    def model(self) -> SSP:
        """The trained system in eval mode; its `image` alone segments frame by frame."""
        return SSP.from_pretrained(self.folder)

    def frames(self) -> list[np.ndarray]:
        """The clip's frames (H, W, 3) uint8."""
        return [self.clip.frame(k, self.size) for k in range(len(self.clip))]

    def flows_to_prev(self) -> list[np.ndarray]:
        """Flow (2, H, W) of each frame but the first to the one before."""
        return [self.flows.between(self.clip, k, k - 1).numpy() for k in range(1, len(self.clip))]

    def segment(self, model: VideoSegmenter) -> list[Segmented]:
        """A model streamed over the clip as over a live video: motion is estimated as frames arrive."""
        config = self.config
        motion = motion_for(model, lambda: build_registrator(config.registration), lambda: build_flow(config.flow))
        return list(segment_frames(model, self.frames(), motion, self.size))

    def scores(self, labels: Iterable[np.ndarray]) -> dict[str, float]:
        """mIoU and TC (0..1) of label maps (H, W) of the clip: truth on every frame, flow by the run's metric flow."""
        suite = MetricSuite(self.spec.n_classes, SCORES)
        suite.start_clip()
        for record in clip_records(self.clip, labels, self.flows, self.size):
            suite.update(record)
        return {name: float(value) for name, value in suite.compute().items()}

    def compared(self, streams: Mapping[str, Sequence[Segmented]]) -> dict[str, dict[str, float]]:
        """Rows of a table: scores of each stream, and the mean share of labels that changed along the flow, in percent."""
        flows, rows = self.flows_to_prev(), {}
        for name, results in streams.items():
            maps = [result.labels for result in results]
            changed = [flicker_mask(maps[k + 1], maps[k], flow).mean() for k, flow in enumerate(flows)]
            rows[name] = _in_percent(self.scores(maps)) | {"labels changed (%)": 100 * float(np.mean(changed))}
        return rows

    def validation(self) -> dict[str, dict[str, float]]:
        """Rows of a table: scores in percent over all validation clips of the run that the sample is from, by system."""
        return {name: _in_percent(row) for name, row in self.manifest["scores_on_all_validation_clips"].items()}


def open_sample(folder: Path = SAMPLE) -> Sample:
    """The sample. Raises: ArtefactError if a file is missing or, by the manifest, not the one that was shipped."""
    manifest = read_json(folder / MANIFEST)
    for name, expected in manifest["sha256"].items():
        path = folder / name
        if not path.is_file() or sha256(path) != expected:
            problem = "differs from the one shipped" if path.is_file() else "is missing"
            raise ArtefactError(f"{path}: {problem}; restore it: git checkout -- data/sample")
    return Sample(folder, manifest, read_config(folder))


def make_sample(study: Study, dataset: str, folder: Path = SAMPLE) -> Sample:
    """Write the sample of a finished run, with the validation clip of median flicker of Base.

    Raises: ArtefactError if the profile does not render (real data is not ours to pass on).
    """
    truth, profile = study.truth_root(dataset), study.profile
    if truth is None:
        raise ArtefactError(f"profile {profile.name}: only rendered data may be shipped; take --profile demo")
    clip = typical_clip(study, dataset, "Base")
    rows = {name: {key: study.evaluate(name, dataset)[key] for key in SCORES} for name in ("Base", SYSTEM)}
    config = system_config(
        SYSTEM, image_spec(SYSTEM, profile), SPECS[dataset], profile.input_size, registration=profile.registration,
        flow=profile.metric_flow, interpolation=profile.clips[dataset].interpolation(profile.input_size),
        data=study.data_origin, licence="Apache-2.0",
        scores={f"{key} (all validation clips)": round(value, 4) for key, value in rows[SYSTEM].items()},
        provenance=provenance(profile.name, study.seed, study.clips_key(dataset)) | {"data": study.data_origin},
    )
    chosen = {"clip": clip.name, "chosen": "median flicker of Base among the validation clips"}
    manifest = {"scores_on_all_validation_clips": rows} | chosen
    with atomic_folder(folder, MANIFEST) as out:
        save_checkpoint(out, study.model(SYSTEM, dataset), config, half=True)
        write_json(out / "clips" / KEY_FILE, {"key": study.clips_key(dataset), "title": f"sample: {study.data_origin}"})
        _write_clip(clip, truth, profile.input_size, out / "clips" / _SPLIT / clip.name)
        with (out / CARD).open("a", encoding="utf-8") as card:
            card.write(template("sample_card.md").render() + "\n")
        sample = Sample(out, manifest | {"sha256": checksums(out)}, config)
        write_json(out / MANIFEST, manifest | _compared(study, sample, clip) | {"sha256": checksums(out)})
    return open_sample(folder)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder but the manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def _in_percent(scores: Mapping[str, float]) -> dict[str, float]:
    return {in_percent(key): 100 * value for key, value in scores.items()}


def _compared(study: Study, sample: Sample, clip: Clip) -> dict[str, Any]:
    """Scores of the shipped model on the clip, of the run's own predictions there, and where the two differ."""
    dataset, shipped = sample.spec.name, sample.model()
    models = {SYSTEM: shipped, ALONE: shipped.image, "from_float32_weights": study.model(SYSTEM, dataset).cpu()}
    maps = {name: np.stack([result.labels for result in sample.segment(model)]) for name, model in models.items()}
    maps["from_the_run"] = np.stack(study.label_maps(SYSTEM, dataset, clip))
    return {
        "scores_on_the_clip": {name: sample.scores(maps[name]) for name in (SYSTEM, ALONE)},
        "scores_of_the_run_on_the_clip": sample.scores(maps["from_the_run"]),
        "share_of_pixels_that_differ": {
            name: float(np.mean(maps[SYSTEM] != maps[name])) for name in ("from_float32_weights", "from_the_run")
        },
    }


def _write_clip(clip: Clip, truth: Path, size: tuple[int, int], folder: Path) -> None:
    """A clip in the layout of prepared clips, at the size that models see, with exact labels on every frame."""
    for name in ("frames", "labels"):
        (folder / name).mkdir(parents=True)
    for position, number in enumerate(clip.numbers):
        write_image(folder / "frames" / f"{number:06d}.webp", clip.frame(position, size))
        write_image(folder / "labels" / f"{number:06d}.png", exact_labels(truth, clip, position, size))
    write_json(folder / "clip.json", {
        "dataset": clip.spec.name, "classes": asdict(clip.spec), "split": clip.split, "sequence": clip.sequence,
        "suffix": ".webp", "size": list(size), "interpolation": clip.interpolation,
        "frames": list(clip.numbers), "labelled": list(range(len(clip))),
    })
