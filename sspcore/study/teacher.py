"""How good teacher labels and their fusion are (notebook 04)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sspcore.data.clips import Clip
from sspcore.data.truth import exact_motion, true_labels
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.motion.readings import OCCLUSION_RULES
from sspcore.study.stages import Study
from sspcore.training.distill import LabelStore


def stored_labels(store: LabelStore, clip: Clip, position: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 label map of stored logits, upsampled bilinearly as the distillation loss does."""
    logits = F.interpolate(store.read(clip, [position]), size, mode="bilinear", align_corners=False)
    return logits[0].max(0).indices.to(torch.uint8).numpy()  # eight times as fast as argmax on a CPU


def occlusion_scores(study: Study, dataset: str) -> dict[str, float] | None:
    """Precision, recall and F1 of both readings of M_occ over all training pairs, in both directions, as fusion uses it.

    Flow is the study's own, occlusion the renderer's exact one (hidden in the other frame, or outside its view).

    Returns: "<reading>: precision" and so on; None where no exact occlusion is known (real data).
    """
    truth, size = study.truth_root(dataset), study.profile.input_size
    if truth is None:
        return None
    flows = study.fusion_flows(dataset)
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
    size, spec = study.profile.input_size, study.spec(dataset)
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
                        target=true_labels(clip, position, size, study.truth_root(dataset)),
                        flow_to_next=flows.between(clip, position, position + 1) if position < k else None,
                    ))
        scores[name] = suite.compute()
    return scores
