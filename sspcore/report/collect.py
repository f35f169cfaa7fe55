"""What the pictures of a run show, collected from its study. The pictures themselves are drawn from arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sspcore.core.classes import IGNORE
from sspcore.core.errors import ArtefactError
from sspcore.core.images import to_tensor
from sspcore.data.clips import Clip
from sspcore.data.truth import true_labels
from sspcore.models.ssp import SSP, Observation, Propagation, SSPState
from sspcore.models.systems import system
from sspcore.motion.readings import OCCLUSION_RULES
from sspcore.report import figures
from sspcore.report.frontier import averaging
from sspcore.report.method import Step, method_picture
from sspcore.study import Study
from sspcore.study.recurrence import SETTLED, drift
from sspcore.study.teacher import stored_labels

STRIP_FRAMES = 4
STRIP_SYSTEMS = ("Base", "NetWarp", "TCB_ocr", "SSP", "KD-SSP")
EVIDENCE = (
    "photometric residual", "disagreement of past and present", "confidence of the past", "confidence of the present",
    "inside the view before",
)  # the classes' channels follow; what they mean is learned, so none is shown


# ----------------------------------------------------------- which frames to show


def films(study: Study, dataset: str, split: str = "val") -> list[Clip]:
    """The clips of a split that show motion: a data set of one's own may have stills too, or nothing else."""
    return [clip for clip in study.clips(dataset, split) if len(clip) > 1]


def example_film(study: Study, dataset: str) -> Clip:
    """A clip to step a network through: the first validation clip that shows motion, of training where there is none.

    Raises: ArtefactError of stills alone.
    """
    if (found := next((clip for split in ("val", "train") for clip in films(study, dataset, split)), None)) is None:
        raise ArtefactError(
            f"{study.spec(dataset).title}: stills alone, and nothing to follow from frame to frame; add a video to its "
            "files (it needs no label), or take `sspcore reproduce --dataset FILE --systems Base`"
        )
    return found


def flicker_shares(study: Study, dataset: str, clip: Clip, name: str) -> np.ndarray:
    """Share of pixels that change along the flow, for each frame from the second on, (T - 1,)."""
    labels, flows = study.label_maps(name, dataset, clip), study.flows(dataset)
    return np.array([
        figures.flicker_mask(labels[k], labels[k - 1], flows.between(clip, k, k - 1).numpy()).mean()
        for k in range(1, len(clip))
    ])


def most_flickering(study: Study, dataset: str, name: str) -> tuple[Clip, int] | None:
    """Validation clip and last frame of the stretch of STRIP_FRAMES frames with most flicker of the system; None of stills."""
    best: tuple[float, Clip, int] | None = None
    for clip in films(study, dataset):
        shares = flicker_shares(study, dataset, clip, name)
        n = min(STRIP_FRAMES, len(shares))
        means = np.convolve(shares, np.ones(n) / n, mode="valid")
        start = int(means.argmax())
        if best is None or means[start] > best[0]:
            best = (float(means[start]), clip, start + n)
    return best and best[1:]


def typical_clip(study: Study, dataset: str, name: str) -> Clip | None:
    """The validation clip of median flicker of the system, of two in the middle the one that flickers more; None of stills."""
    clips = films(study, dataset)
    if not clips:
        return None
    shares = [flicker_shares(study, dataset, clip, name).mean() for clip in clips]
    return clips[int(np.argsort(shares, kind="stable")[len(clips) // 2])]


def most_moving(study: Study, dataset: str) -> tuple[Clip, int]:
    """The labelled validation frame, past the first few, with the largest share of moving classes.

    Raises: ArtefactError if no validation frame with a predecessor has a label.
    """
    size, moving = study.profile.input_size, study.spec(dataset).moving_ids
    places = [(clip, k) for clip in study.clips(dataset, "val") for k in clip.labelled if k > 0]
    if not places:
        raise ArtefactError(f"{study.spec(dataset).title}: no frame of a validation video has a label; this picture needs one")
    settled = [place for place in places if place[1] >= SETTLED]
    return max(settled or places, key=lambda place: float(np.isin(place[0].label(place[1], size), moving).mean()))


def strip_systems(systems: Sequence[str]) -> list[str]:
    """Those systems that a strip of pictures has space for; the first is the one whose flicker is looked for."""
    return [name for name in STRIP_SYSTEMS if name in systems] or list(systems[:len(STRIP_SYSTEMS)])


def learned_alpha(systems: Sequence[str]) -> str | None:
    """The first system that has an alpha to show, None if there is none."""
    return next((name for name in systems if system(name).kind == "video" and system(name).options is not None), None)


def fuses(study: Study, systems: Sequence[str]) -> bool:
    """Whether a run has fused teacher labels: whether one of its systems learned from them."""
    learned = any(system(name).teacher and system(name).kind == "video" for name in systems)
    return learned and study.profile.fuse_teacher


# -------------------------------------------------------------------- one picture


def flicker_picture(study: Study, dataset: str, systems: Sequence[str]) -> Figure | None:
    """Consecutive frames of the stretch on which the first system flickers most, with all systems' labels; None of stills."""
    if (found := most_flickering(study, dataset, systems[0])) is None:
        return None
    clip, last = found
    positions = range(max(0, last - STRIP_FRAMES), last + 1)
    size, flows = study.profile.input_size, study.flows(dataset)
    predictions = {name: study.label_maps(name, dataset, clip) for name in systems}
    return figures.consecutive_strip(
        frames=[clip.frame(k, size) for k in positions],
        predictions={name: [labels[k] for k in positions] for name, labels in predictions.items()},
        flows_to_prev=[flows.between(clip, k, k - 1).numpy() for k in positions[1:]],
        truth=[true_labels(clip, k, size, study.truth_root(dataset)) for k in positions],
        spec=study.spec(dataset),
        title=f"{study.spec(dataset).title}, {clip.name}, frame k = {positions[1]}",
    )


def alpha_picture(study: Study, dataset: str, name: str = "SSP", columns: int = 4) -> Figure | None:
    """Alpha over frames of the first validation clip that shows motion; None if there is none."""
    if (clip := next(iter(films(study, dataset)), None)) is None:
        return None
    results = study.segment(name, dataset, clip)
    chosen = np.linspace(1, len(clip) - 1, columns).round().astype(int)
    return figures.alpha_strip(
        [clip.frame(k, study.profile.input_size) for k in chosen],
        [results[k].state.alpha[0, 0].cpu().numpy() for k in chosen],
        f"{name} on {study.spec(dataset).title}, {clip.name}",
    )


@dataclass(frozen=True)
class TeacherPair:
    """Frames k - 1 and k of a training clip, as the teacher's labels are fused.

    Attributes:
        clip, k: where the pair is.
        frames: previous and current, (H, W, 3) uint8.
        teacher: logits (1, C, h, w) of both at stride 4. fused: the same, fused.
        flow_to_next, flow_to_prev: (1, 2, H, W), pixels, k - 1 to k and back.
        truth: labels (H, W) of frame k, None where unknown.
    """

    clip: Clip
    k: int
    frames: tuple[np.ndarray, np.ndarray]
    teacher: tuple[Tensor, Tensor]
    fused: tuple[Tensor, Tensor]
    flow_to_next: Tensor
    flow_to_prev: Tensor
    truth: np.ndarray | None


def teacher_pair(study: Study, dataset: str) -> TeacherPair | None:
    """The pair in the middle of the first training clip that shows motion; None where all training data are stills."""
    if (clip := next(iter(films(study, dataset, "train")), None)) is None:
        return None
    size, flows, k = study.profile.input_size, study.fusion_flows(dataset), _middle_pair(clip)
    stores = (study.teacher_labels(dataset), study.fused_labels(dataset))
    teacher, fused = (tuple(store.read(clip, [k - 1, k]).split(1)) for store in stores)
    return TeacherPair(
        clip, k, (clip.frame(k - 1, size), clip.frame(k, size)), teacher, fused, flows.between(clip, k - 1, k)[None],
        flows.between(clip, k, k - 1)[None], true_labels(clip, k, size, study.truth_root(dataset)),
    )


def _middle_pair(clip: Clip) -> int:
    """Later frame of the pair in the middle: pairs are (0, 1), (2, 3), ..."""
    return 2 * (len(clip) // 4) + 1


def teacher_picture(study: Study, dataset: str) -> Figure | None:
    """A pair of training frames: where it is occluded, the teacher's labels before and after fusion, and the truth.

    None where all training data are stills.
    """
    if (clip := next(iter(films(study, dataset, "train")), None)) is None:
        return None
    size, flows = study.profile.input_size, study.flows(dataset)
    k = _middle_pair(clip)
    to_prev, from_prev = flows.between(clip, k, k - 1), flows.between(clip, k - 1, k)
    stores = {"teacher, unfused": study.teacher_labels(dataset), "teacher, fused": study.fused_labels(dataset)}
    return figures.teacher_panels(
        frame=clip.frame(k, size),
        occluded=OCCLUSION_RULES[study.profile.conventions.occlusion](to_prev[None], from_prev[None])[0, 0].numpy(),
        labels={name: tuple(stored_labels(store, clip, n, size) for n in (k, k - 1)) for name, store in stores.items()},
        flow_to_prev=to_prev.numpy(),
        truth=None if study.truth_root(dataset) is None else true_labels(clip, k, size, study.truth_root(dataset)),
        spec=study.spec(dataset),
        title=f"{study.spec(dataset).title}, {clip.name}, pair ({k - 1}, {k}); {study.data_origin}",
    )


def drift_picture(study: Study, dataset: str, systems: Sequence[str]) -> Figure | None:
    """Streams by frames since their start; None where the run has nothing to compare."""
    streams = drift(study, dataset, systems)
    if not streams:
        return None
    title = f"{study.spec(dataset).title}: streams by frames since their start ({len(films(study, dataset))} clips)"
    return figures.drift_plot(streams, [name for name in streams if averaging(name)], title)


def evidence_picture(study: Study, name: str, dataset: str) -> Figure:
    """One frame with moving things: the frame, alpha, and the channels that the similarity head sees beside the features."""
    clip, k = most_moving(study, dataset)
    step = next(step for at, _, _, step in propagations(study, dataset, clip, study.model(name, dataset)) if at == k)
    return figures.evidence_panels(
        clip.frame(k, study.profile.input_size), step.state.alpha[0, 0].cpu().numpy(),
        dict(zip(EVIDENCE, () if step.evidence is None else step.evidence[0].cpu().numpy(), strict=False)),
        f"{name} on {study.spec(dataset).title}, {clip.name}, frame {k}: what alpha is worked out from",
    )


@torch.inference_mode()
def propagations(
    study: Study, dataset: str, clip: Clip, model: SSP
) -> Iterator[tuple[int, Observation, SSPState, Propagation]]:
    """Each step of SSP over a clip from the second frame on: position, observation, the state before, the step."""
    size, state = study.profile.input_size, None
    motion = study.motion(model, dataset, clip)
    for k in range(len(clip)):
        frame = to_tensor(clip.frame(k, size))[None].to(study.device)
        observation = model.observe(frame)
        if state is None:
            state = model.start(observation)
            continue
        moved = motion(k, clip.frame(k - 1, size), clip.frame(k, size)).motion
        step = model.propagate(observation, state, model.route(frame, moved))
        yield k, observation, state, step
        state = step.state


def most_corrected_step(study: Study, dataset: str, clip: Clip, model: SSP) -> tuple[int, Step]:
    """The frame of a clip on which the past changes most labels, and its step."""
    def corrected(found: tuple[int, Observation, SSPState, Propagation]) -> float:
        _, observation, _, step = found
        return float((step.state.logits.argmax(1) != observation.logits.argmax(1)).float().mean())

    k, observation, state, step = max(propagations(study, dataset, clip, model), key=corrected)
    size = study.profile.input_size
    return k, Step(
        frames=(clip.frame(k - 1, size), clip.frame(k, size)),
        features=(state.features[0].cpu(), observation.features[0].cpu()), past_features=step.past_features[0].cpu(),
        previous=_labels(state.logits),
        past=np.where(step.valid[0, 0].cpu().numpy(), _labels(step.past), IGNORE).astype(np.uint8),
        present=_labels(observation.logits), output=_labels(step.state.logits),
        alpha=step.state.alpha[0, 0].cpu().numpy(), truth=true_labels(clip, k, size, study.truth_root(dataset)),
    )


def _labels(logits: Tensor) -> np.ndarray:
    return logits[0].argmax(0).to(torch.uint8).cpu().numpy()


def step_picture(study: Study, dataset: str, name: str) -> Figure | None:
    """The method picture of a trained system, on the first validation clip that shows motion; None if there is none."""
    if (clip := next(iter(films(study, dataset)), None)) is None:
        return None
    k, step = most_corrected_step(study, dataset, clip, study.model(name, dataset))
    title = (
        f"One step of {name} on {study.spec(dataset).title}, {clip.name}, frame {k}: "
        f"the past gives {100 * step.corrected:.1f} % of pixels another label"
    )
    return method_picture(step, study.spec(dataset), title)
