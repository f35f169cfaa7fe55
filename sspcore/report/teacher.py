"""Pictures and figures of teacher labels and their fusion (notebook 04)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from sspcore.core.classes import colourise
from sspcore.data.clips import Clip
from sspcore.data.truth import exact_labels, exact_motion, true_labels
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.report.figures import FLICKER, flicker_mask
from sspcore.report.motion import overlay
from sspcore.report.style import class_legend, figure, show_image
from sspcore.study import Study
from sspcore.training.distill import LabelStore
from sspcore.training.fusion import OCCLUSION_RULES


def stored_labels(store: LabelStore, clip: Clip, position: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 label map of stored logits, upsampled bilinearly as the distillation loss does."""
    logits = F.interpolate(store.read(clip, [position]), size, mode="bilinear", align_corners=False)
    return logits[0].argmax(0).to(torch.uint8).numpy()


def teacher_panels(study: Study, dataset: str) -> Figure:
    """A pair of frames: image with M_occ, unfused and fused labels (changes along the flow in magenta), truth."""
    clip, size = study.clips(dataset, "train")[0], study.profile.input_size
    k = 2 * (len(clip) // 4) + 1  # pairs are (0, 1), (2, 3), ...
    flows, truth = study.flows(dataset), study.truth_root(dataset)
    rule = OCCLUSION_RULES[study.profile.occlusion]
    there, back = flows.between(clip, k, k - 1), flows.between(clip, k - 1, k)
    occluded = rule(there[None], back[None])[0, 0].numpy()
    panels = {f"frame k: {100 * occluded.mean():.1f} % occluded ($M_{{occ}}$)": overlay(clip.frame(k, size), occluded)}
    stores = {"teacher, unfused": study.teacher_labels(dataset), "teacher, fused": study.fused_labels(dataset)}
    for name, store in stores.items():
        labels = stored_labels(store, clip, k, size)
        changed = flicker_mask(labels, stored_labels(store, clip, k - 1, size), there.numpy())
        shown = colourise(labels, study.spec(dataset))
        shown[changed] = FLICKER
        panels[f"{name}: {100 * changed.mean():.1f} % changed"] = shown
    if truth is not None:
        panels["exact labels"] = colourise(exact_labels(truth, clip, k, size), study.spec(dataset))
    lines = -(-len(panels) // 2)
    picture, axes = figure(8.4, lines * (4.1 * size[0] / size[1] + 0.3) + 1.0, lines, 2, squeeze=False)
    for cell in axes.flat[len(panels):]:
        cell.remove()
    for cell, (title, image) in zip(axes.flat, panels.items(), strict=False):  # an odd number leaves a cell over
        show_image(cell, image)
        cell.set_title(title, fontsize=10)
    more = {"occluded, or changed along the flow": "magenta"} | ({} if truth is None else {"not scored": "black"})
    class_legend(picture, study.spec(dataset), columns=5, more=more)
    picture.suptitle(f"{study.spec(dataset).title}, {clip.name}, pair ({k - 1}, {k}); {study.data_origin}")
    return picture


def occlusion_scores(study: Study, dataset: str) -> dict[str, float] | None:
    """Precision, recall and F1 of both readings of M_occ over all training pairs, in both directions, as fusion uses it.

    Flow is the study's own, occlusion the renderer's exact one (hidden in the other frame, or outside its view).

    Returns: "<reading>: precision" and so on; None where no exact occlusion is known (real data).
    """
    truth, size = study.truth_root(dataset), study.profile.input_size
    if truth is None:
        return None
    flows = study.flows(dataset)
    counts = {name: np.zeros(3) for name in OCCLUSION_RULES}  # hits, found, there
    for clip in study.clips(dataset, "train"):
        for k in range(1, len(clip), 2):
            to_prev, to_next = flows.between(clip, k, k - 1)[None], flows.between(clip, k - 1, k)[None]
            for source, target, there, back in ((k, k - 1, to_prev, to_next), (k - 1, k, to_next, to_prev)):
                hidden = exact_motion(truth, clip, source, target, size)[1]
                for name, rule in OCCLUSION_RULES.items():
                    mask = rule(there, back)[0, 0]
                    counts[name] += [float((mask & hidden).sum()), float(mask.sum()), float(hidden.sum())]
    scores: dict[str, float] = {}
    for name, (hits, found, hidden_pixels) in counts.items():
        scores[f"{name}: precision"] = hits / max(found, 1.0)
        scores[f"{name}: recall"] = hits / max(hidden_pixels, 1.0)
        scores[f"{name}: F1"] = 2 * hits / max(found + hidden_pixels, 1.0)
    return scores


def label_quality(study: Study, dataset: str) -> dict[str, dict[str, float]]:
    """TC within pairs and mIoU of unfused and fused labels over the training clips.

    Scored against dense exact labels under exact flow on rendered data, against the sparse labels under the profile's
    flow on real data.
    """
    size, spec, truth = study.profile.input_size, study.spec(dataset), study.truth_root(dataset)
    flows = study.exact_flows(dataset) or study.flows(dataset)
    scores = {}
    stores = {"unfused": study.teacher_labels(dataset), "fused": study.fused_labels(dataset)}
    for name, store in stores.items():
        suite = MetricSuite(spec.n_classes, ("miou", "tc"))
        for clip in study.clips(dataset, "train"):
            for k in range(1, len(clip), 2):
                suite.start_clip()  # each pair on its own: fusion is within pairs
                for position in (k - 1, k):
                    suite.update(FrameRecord(
                        prediction=stored_labels(store, clip, position, size),
                        target=true_labels(clip, position, size, truth),
                        flow_to_next=flows.between(clip, position, position + 1) if position < k else None,
                    ))
        scores[name] = suite.compute()
    return scores
