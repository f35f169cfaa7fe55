"""What the departures from the paper's reference code change: python benchmarks/deviations.py [--json FILE] [--root DIR].

Measured on a finished run of a profile that renders (default: the demo), whose exact flow,
occlusion and ground homographies judge both readings of each formula; docs/deviations.md cites the figures:

  occlusion      M_occ followed along the flow against both flows at the same pixel: precision, recall, F1, training pairs
  fusion         teacher labels unfused, fused under either reading: mIoU and TC of pairs
  flow_warp      photometric error of the warp by exact flow: one pixel convention against the mixed two
  stride4        how far the homography of the features moves where the half pixel of the rescaling is left out
  soft_occlusion the mean weight O on visible and on hidden pixels: L1 norm against |sum of channel differences|
  no_past        share of pixels without a source in the frame before, where alpha is masked
  streamed       trained systems streamed in another way, without training them again: mIoU and TC, beside results.json
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.errors import SspError
from sspcore.core.files import write_json
from sspcore.core.images import to_tensor
from sspcore.core.progress import configure_logging, tqdm
from sspcore.core.provenance import provenance
from sspcore.data.clips import Clip
from sspcore.data.truth import exact_motion
from sspcore.evaluation.clips import clip_records
from sspcore.inference import motion_for, segment_frames
from sspcore.metrics import MetricSuite
from sspcore.models.ssp import SSP
from sspcore.motion.cache import HomographyStore
from sspcore.motion.geometry import (
    pixel_grid,
    rescale_homography,
    sampling_homography,
    soft_occlusion,
    soft_occlusion_sum,
    warp_by_flow,
    warp_by_flow_reference,
    warp_by_sampling_homography,
)
from sspcore.motion.registration import build_registrator
from sspcore.study import Study
from sspcore.study.teacher import label_quality, occlusion_scores

STREAMED = (  # system, what is otherwise, readings that act in a stream
    ("NetWarp", "mixture carried", {"netwarp_state": "mixture"}),
    ("NetWarp", "features warped with the slip", {"feature_warp": "reference"}),
    ("DFF", "features warped with the slip", {"feature_warp": "reference"}),
    ("TCB_ppm", "image model alone first", {"tcb_start": "image-model"}),
    ("TCB_ocr", "image model alone first", {"tcb_start": "image-model"}),
    ("SSP", "alpha not masked", {"past_outside": "zeros"}),
    ("SSP", "no half pixel", {"half_pixel": "dropped"}),
    ("SSP", "zeros beyond the border", {"past_border": "zero-padded"}),
)


def pairs(study: Study, dataset: str) -> Iterator[tuple[Clip, int]]:
    """(clip, k) of the validation clips: frames k - 1 and k."""
    for clip in tqdm(study.clips(dataset, "val"), desc=f"{dataset}, validation clips", unit="clip"):
        yield from ((clip, k) for k in range(1, len(clip)))


def frames_of(study: Study, clip: Clip, k: int) -> tuple[Tensor, Tensor]:
    """Frames k - 1 and k, (1, 3, H, W) float in 0..255."""
    size = study.profile.input_size
    return tuple(torch.from_numpy(clip.frame(i, size).copy()).movedim(-1, 0)[None].float() for i in (k - 1, k))


def masks_and_fusion(study: Study, dataset: str, same_pixel: Study) -> dict[str, Any]:
    """Both readings of M_occ, as masks and as what fusion makes of them."""
    own, other = label_quality(study, dataset), label_quality(same_pixel, dataset)
    scores: dict[str, Any] = {name: {} for name in ("followed", "same-pixel")}
    for name, value in (occlusion_scores(study, dataset) or {}).items():
        reading, measure = name.split(": ")
        scores[reading][measure.lower()] = value
    fusion = {"unfused": own["unfused"], "followed": own["fused"], "same-pixel": other["fused"]}
    return {"occlusion": scores, "fusion": fusion}


def warps(study: Study, dataset: str) -> dict[str, Any]:
    """Flow warp, soft occlusion, homographies at stride 4 and the view's border, over all validation pairs."""
    size, truth = study.profile.input_size, study.truth_root(dataset)
    flows, registrations = study.flows(dataset), study.homographies(dataset)
    small = (size[0] // 4, size[1] // 4)
    values: dict[str, list[float]] = defaultdict(list)
    for clip, k in pairs(study, dataset):
        before, now = frames_of(study, clip, k)
        exact, hidden = exact_motion(truth, clip, k, k - 1, size)
        shown = ~hidden[None, None].expand_as(now)
        for name, (warped, inside) in (
            ("one_convention", warp_by_flow(before, exact[None])),
            ("two_conventions", warp_by_flow_reference(before, exact[None], mode="bilinear")),
        ):
            values[f"flow_warp/{name}"].append(float((now - warped).abs()[shown & inside].mean()))
        current = to_tensor(clip.frame(k, size))[None]
        past = warp_by_flow(to_tensor(clip.frame(k - 1, size))[None], flows.between(clip, k, k - 1)[None])[0]
        weights = {"l1": soft_occlusion(current, past), "sum": soft_occlusion_sum(current, past)}
        for name, weight in weights.items():
            values[f"soft_occlusion/{name}_visible"].append(float(weight[0, 0][~hidden].mean()))
            if hidden.any():
                values[f"soft_occlusion/{name}_hidden"].append(float(weight[0, 0][hidden].mean()))
        H = sampling_homography(registrations.clip(clip).at(k)[None])
        right, naive = (rescale_homography(H, size, small, half_pixel) for half_pixel in (True, False))
        moved = displacement(right, naive, small)
        values["stride4/mean_px"].append(float(moved.mean()))
        values["stride4/max_px"].append(float(moved.max()))
        values["no_past/share"].append(1 - float(warp_by_sampling_homography(now, H)[1].float().mean()))
    return nested({name: (np.max if name.endswith("max_px") else np.mean)(kept) for name, kept in values.items()})


def displacement(a: Tensor, b: Tensor, size: tuple[int, int]) -> Tensor:
    """How far two homographies (1, 3, 3) float64 send each pixel of a frame apart: (h, w) pixels."""
    points = torch.cat((pixel_grid(*size, dtype=torch.float64), torch.ones(1, 1, *size, dtype=torch.float64)), 1)[0]
    ends = [torch.einsum("ij,jhw->ihw", H[0], points) for H in (a, b)]
    return torch.linalg.vector_norm(ends[0][:2] / ends[0][2] - ends[1][:2] / ends[1][2], dim=0)


def streamed(
    study: Study, dataset: str, name: str, conventions: Conventions = CORRECTED, registrator: str | None = None
) -> dict[str, float]:
    """mIoU and TC over the validation clips of a trained system, streamed under other readings or registered otherwise."""
    model, spec, size = study.model(name, dataset), study.spec(dataset), study.profile.input_size
    if isinstance(model, SSP):
        model.options = model.options.under(conventions)
    else:
        model.conventions = conventions
    suite = MetricSuite(spec.n_classes, ("miou", "tc"))
    homographies = study.homographies(dataset)
    if registrator is not None:
        homographies = HomographyStore(homographies.root, build_registrator(registrator), size)
    for clip in tqdm(study.clips(dataset, "val"), desc=f"{dataset}, {name}", unit="clip"):
        images = (clip.frame(k, size) for k in range(len(clip)))
        motion = motion_for(model, lambda: homographies, lambda: study.flows(dataset), clip)
        labels = [one.labels for one in segment_frames(model, images, motion, size)]
        suite.start_clip()
        for record in clip_records(clip, labels, study.flows(dataset, study.profile.metric_flow), size):
            suite.update(record)
    return suite.compute()


def nested(values: dict[str, float]) -> dict[str, dict[str, float]]:
    """{"a/b": x} as {"a": {"b": x}}."""
    tree: dict[str, dict[str, float]] = defaultdict(dict)
    for name, value in values.items():
        group, key = name.split("/")
        tree[group][key] = float(value)
    return dict(tree)


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit status."""
    parser = argparse.ArgumentParser("bench_deviations", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo", help="a profile that renders, whose run is finished (default: demo)")
    parser.add_argument("--root", type=Path, help="folder of its artefacts (default: the repository's data folder)")
    parser.add_argument("--json", type=Path, default=Path("figures/deviations.json"))
    options = parser.parse_args(arguments)
    configure_logging()
    study = Study.open(options.profile, root=options.root)
    if study.profile.rendering is None:
        raise SspError(f"--profile {options.profile}: exact truth is needed; take a profile that renders")
    same_pixel = Study.open(options.profile, root=options.root, overrides={"conventions.occlusion": "same-pixel"})
    results: dict[str, Any] = {"provenance": provenance(study.profile.name, study.seed, "") | {"data": study.data_origin}}
    for dataset in study.profile.datasets:
        results[dataset] = masks_and_fusion(study, dataset, same_pixel) | warps(study, dataset)
        results[dataset]["streamed"] = {
            f"{name}, {how}": streamed(study, dataset, name, Conventions(**readings)) for name, how, readings in STREAMED
        } | {"SSP, registered by SIFT": streamed(study, dataset, "SSP", registrator="sift")}
    results["provenance"]["data_key"] = "/".join(study.clips_key(name) for name in study.profile.datasets)
    write_json(options.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
