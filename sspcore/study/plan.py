"""Hours, GPU memory and disk of every stage on this machine, before it runs: `sspcore plan`.

A few steps of each kind of work are timed on random frames and multiplied by how often the stages do them; nothing is
trained, fetched or prepared. On a GPU everything is timed at the profile's own sizes. On a CPU frames are made smaller and
times multiplied by the ratio of pixels: attention grows faster, so such hours tell the order of magnitude.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from sspcore.core.errors import SspError
from sspcore.core.images import encode_image, resize_frame
from sspcore.core.machine import cores, describe, worker_count
from sspcore.core.paths import Workspace
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.data.check import require_release
from sspcore.data.footage import Sequence
from sspcore.data.prepare import encode_frame
from sspcore.models.systems import build, system
from sspcore.motion.flow import RAFTFlow, build_flow
from sspcore.motion.names import uses_lightglue, uses_raft
from sspcore.motion.raft import peak_bytes
from sspcore.motion.readings import registrator_under
from sspcore.motion.registration import build_registrator
from sspcore.study.cost import parameters_m
from sspcore.study.counts import Counts, count
from sspcore.study.own import Sources, with_own
from sspcore.study.profiles import Profile, choose_datasets, choose_systems, load_profile
from sspcore.study.text_table import text_table
from sspcore.study.timing import N_CLASSES, StepCost, measure_fps, time_training, timed

CPU_PIXELS = 128 * 224  # of the frames that a CPU times networks on
CPU_BATCH = 2
SAMPLE_FRAMES = 8
FLOAT16, FLOAT32 = 2, 4
COLUMNS = {  # of the printed table: title and format
    "stage": ("stage", ""), "hours": ("hours", ".3g"), "gpu_gib": ("GPU GiB", ".1f"), "disk_gb": ("disk GB", ".2f"),
    "note": ("note", ""),
}


@dataclass(frozen=True)
class Row:
    """One stage: hours, GiB of GPU memory (None: needs none, or not measured), GB of disk that it leaves."""

    stage: str
    hours: float | None
    gpu_gib: float | None
    disk_gb: float
    note: str = ""


def trainings(systems: Iterable[str], equal_steps: bool) -> list[str]:
    """All systems to be trained, those that others start from or learn from first; `equal_steps`: the profile's."""
    order: dict[str, None] = {}
    for name in systems:
        spec = system(name)
        first = [other for other in (spec.start(equal_steps), "Teacher" if spec.teacher else None) if other is not None]
        order |= dict.fromkeys([*trainings(first, equal_steps), *([] if spec.recipe is None else [name])])
    return list(order)


def smaller(size: Size) -> tuple[Size, float]:
    """A size of about CPU_PIXELS in multiples of 32, and how many times fewer pixels it has; `size` if it is no larger."""
    if size[0] * size[1] <= CPU_PIXELS:
        return tuple(size), 1.0
    shrink = (CPU_PIXELS / (size[0] * size[1])) ** 0.5
    small = tuple(max(64, 32 * round(side * shrink / 32)) for side in size)
    return small, size[0] * size[1] / (small[0] * small[1])


class Timer:
    """Times of the networks on one device; systems of the same shape are timed once."""

    def __init__(self, profile: Profile, device: torch.device) -> None:
        self.profile, self.device = profile, device
        self._known: dict[tuple[object, ...], Any] = {}

    def training(self, name: str, dataset: str) -> StepCost:
        """An optimiser step of a system in one process's share of its batch."""
        spec, recipe = system(name), self.profile.recipe(system(name).recipe, dataset)
        share = recipe.batch_size // self.profile.machine.process_count(recipe.batch_size, self.device)
        shape = spec.image_model, spec.method, spec.options, spec.recurrent, spec.teacher
        key = (*shape, tuple(recipe.crop), recipe.freeze_image, share)
        if key not in self._known:
            crop, factor = self._affordable(tuple(recipe.crop))
            batch, steps = (CPU_BATCH, (2, 1)) if self.device.type == "cpu" else (share, (5, 3))
            timed_recipe = recipe.model_copy(update={"batch_size": batch, "crop": crop})
            cost = time_training(name, self.profile, timed_recipe, self.device, *steps)
            self._known[key] = replace(cost, seconds=cost.seconds * factor * share / batch)
        return self._known[key]

    def frame(self, name: str, size: Size) -> float:
        """Seconds of one streamed frame."""
        spec = system(name)
        key = (spec.image_model, spec.method, spec.recurrent, size)
        if key not in self._known:
            used, factor = self._affordable(size)
            sized = self.profile.model_copy(update={"input_size": used})
            self._known[key] = factor / measure_fps(name, sized, self.device, frames=3, warm_up=1)
        return self._known[key]

    def flow(self) -> float:
        """Seconds of the flow of one pair of frames."""
        name, size, factor = self.profile.flow, tuple(self.profile.input_size), 1.0
        if uses_raft(name):
            size, factor = self._affordable(size)
            estimator = RAFTFlow.untrained(int(name.split("-")[1]), self.device)
        else:
            estimator = build_flow(name)
        frames = torch.randn(2, 1, 3, *size)
        return factor * timed(lambda _: estimator(frames[0], frames[1]).sum().item()).median

    def _affordable(self, size: Size) -> tuple[Size, float]:
        return smaller(size) if self.device.type == "cpu" else (size, 1.0)


def registering(profile: Profile, device: torch.device) -> float | None:
    """Seconds to register one pair of frames, None where the networks that do it are not there."""
    frame = _texture(profile.input_size)
    try:
        registrator = build_registrator(registrator_under(profile.registration, profile.conventions), device=device)
    except SspError:
        return None
    return timed(lambda _: registrator(frame, frame)).median


def reading(profile: Profile, dataset: str) -> tuple[float, int]:
    """Seconds to read one prepared frame on one core, and its bytes, from an image of smooth noise."""
    rules = profile.clips[dataset]
    data = encode_image(f".{rules.image_format}", _texture(rules.store_size or profile.teacher_size))
    read = timed(lambda _: resize_frame(
        cv2.imdecode(data, cv2.IMREAD_COLOR), profile.input_size, rules.load_interpolation
    ))
    return read.median, data.nbytes


def preparing(profile: Profile, dataset: str, video: Sequence) -> tuple[float, float]:
    """Seconds and bytes of one prepared frame, from the first frames of a video, or from a still."""
    rules, sizes = profile.clips[dataset], []
    wanted = set(video.numbers()[::rules.frame_step][:SAMPLE_FRAMES])

    def prepare(_: int) -> None:
        for _, image in video.read(wanted):
            sizes.append(encode_frame(image, rules).nbytes)

    return timed(prepare, times=1, warm_up=0).mean / len(sizes), float(np.mean(sizes))


def plan(
    profile: Profile, datasets: Iterable[str], systems: Iterable[str], data: Path | None, device: torch.device
) -> Iterator[Row]:
    """Yield a row for each stage of a run; real releases in `data` are checked first (None: the profile renders them)."""
    timer, wanted = Timer(profile, device), list(systems)
    height, width = profile.input_size
    needed = trainings(wanted, profile.equal_steps)
    models = {name: build(name, N_CLASSES, profile, load_weights=False).to("meta") for name in {*needed, *wanted}}
    registers = any("homography" in model.needs for model in models.values())
    registration = registering(profile, device) if registers else None
    flow = timer.flow()
    for dataset in datasets:
        spec = profile.spec(dataset)
        checked = (data or spec.root) and require_release(data, spec, Workspace(profile.folder), max(1, worker_count("auto")))
        title, counts = spec.title, count(profile, dataset, checked and checked.sequences)
        frames, read = counts.train_frames + counts.val_frames, reading(profile, dataset)
        stage, hours, size, how = "rendering and clips", None, read[1], "not timed"
        if counts.example is not None:
            seconds, size = preparing(profile, dataset, counts.example)
            stage, hours, how = "clips", frames * seconds / 3600, "on one core"
        note = f"{frames} frames, {counts.labelled} labelled windows; {how}"
        yield Row(f"{title}: {stage}", hours, None, frames * size / 1e9, note)
        pairs = counts.val_frames - counts.val_clips
        if not profile.register_crops:
            pairs += counts.train_frames - counts.train_clips
        if registers:
            how = f"{pairs} pairs; " + ("on one core" if registration is not None else "not timed: see `sspcore doctor`")
            yield Row(f"{title}: registration", registration and pairs * registration / 3600, None, 0.0, how)
        distils = any(system(name).teacher for name in needed)
        fused = 2 * counts.strided if distils and profile.fuse_teacher else 0
        flows = (fused or counts.labelled) + 2 * (counts.val_frames - counts.val_clips)
        note, sizes = f"{flows} pairs", [profile.input_size]
        if "Teacher" in wanted and profile.score_teacher_at == "teacher_size":
            sizes.append(profile.teacher_size)
            larger = profile.teacher_size[0] * profile.teacher_size[1] / (height * width)
            flows += larger * (counts.val_frames - counts.val_clips)
            note += ", and those of the teacher's row at its size"
        size = flows * 2 * height * width * FLOAT16
        yield Row(f"{title}: flow ({profile.flow})", flows * flow / 3600, _flow_gib(profile, sizes), size / 1e9, note)
        for name in needed:
            yield _training_row(timer, name, dataset, counts, models[name], read[0], registration)
            if name == "Teacher":
                size = counts.train_frames * spec.n_classes * (height // 4) * (width // 4) * FLOAT16 * (1 + bool(fused))
                hours = counts.train_frames * timer.frame(name, tuple(profile.teacher_size)) / 3600
                yield Row(f"{title}: teacher labels", hours, None, size / 1e9, f"{counts.train_frames} frames")
        for name in wanted:
            size = tuple(profile.teacher_size if system(name).image_model == "teacher" else profile.input_size)
            hours = counts.val_frames * (timer.frame(name, size) + read[0]) / 3600
            yield Row(f"{title}: prediction of {name}", hours, None, 0.0, "scoring not timed")


def _flow_gib(profile: Profile, sizes: Iterable[Size]) -> float | None:
    """GiB that RAFT takes for a pair of the largest frames; None where it is not asked for."""
    if not any(map(uses_raft, (profile.flow, profile.metric_flow))):
        return None
    return max(map(peak_bytes, sizes)) / 2**30


def _training_row(
    timer: Timer, name: str, dataset: str, counts: Counts, model: torch.nn.Module, read: float, registration: float | None
) -> Row:
    profile, spec = timer.profile, system(name)
    recipe, cost = profile.recipe(spec.recipe, dataset), timer.training(name, dataset)
    processes = profile.machine.process_count(recipe.batch_size, timer.device)
    supervised = counts.labels if model.window == 1 else counts.labelled
    steps = recipe.epochs * recipe.steps(counts.strided if spec.teacher else supervised)
    workers = max(1, worker_count(profile.loader_workers, processes)) * processes
    sample, step = model.window * read, cost.seconds
    if profile.register_crops and "homography" in model.needs and registration is not None:
        if uses_lightglue(profile.registration) and timer.device.type == "cuda":
            step += recipe.batch_size // processes * (model.window - 1) * registration
        else:
            sample += (model.window - 1) * registration
    loading = recipe.batch_size * sample / workers
    seconds = max(step, loading)
    notes = {
        f"{steps} steps of {seconds:.3g} s": True,
        f", kept waiting by {workers} loader workers": loading > step,
        f"; {processes} GPUs, their exchange not timed": processes > 1,
        f"; batch cut into {cost.parts} parts": cost.parts > 1,
    }
    disk = 4 * parameters_m(model) * FLOAT32 / 1e3  # weights, and while it runs weights, two moments of AdamW
    return Row(
        f"{profile.spec(dataset).title}: training {name}", steps * seconds / 3600, cost.memory_gib, disk,
        "".join(text for text, holds in notes.items() if holds),
    )


def table(rows: Iterable[Row]) -> str:
    """Rows as aligned text, with their sum."""
    rows = list(rows)
    peaks = [row.gpu_gib for row in rows if row.gpu_gib is not None]
    rows.append(Row("all", sum(row.hours or 0 for row in rows), max(peaks, default=None), sum(row.disk_gb for row in rows)))
    return text_table([asdict(row) for row in rows], COLUMNS)


def _texture(size: Size) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (size[0] // 4, size[1] // 4, 3), np.uint8)
    return cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def describe_run(
    profile_name: str, datasets: Iterable[str] | None, systems: Iterable[str] | None, data: Path | None,
    dataset: Sources | None = None,
) -> Iterator[str]:
    """Yield the lines of a plan: the machine, the table, and what to know about both.

    Each parameter is an option of the command `sspcore plan`. Raises: SspError if one of them is not in order.
    """
    profile = load_profile(profile_name)
    if dataset is not None:
        profile = with_own(profile, dataset)
    chosen = choose_datasets(profile, profile.datasets if datasets is None else datasets, "--datasets")
    wanted = choose_systems(profile, profile.systems if systems is None else systems, chosen, "--systems")
    if profile.rendering is None and data is None and dataset is None:
        raise SspError(f"profile {profile.name} needs the real releases, whose videos are counted: pass --data DIR")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = describe(device, Workspace(profile.folder).base)
    yield ", ".join(f"{name} {value}" for name, value in machine.items())
    rows = list(tqdm(plan(profile, chosen, wanted, data, device), desc="plan", unit="stage"))
    yield table(rows)
    need = sum(row.disk_gb for row in rows)
    if need > machine["disk_free_gb"]:
        yield f"disk: about {need:.0f} GB needed, {machine['disk_free_gb']:.0f} GB free: free some space first"
    if device.type == "cpu":
        yield (
            f"on a CPU ({cores()} cores): networks timed on frames of at most {CPU_PIXELS} pixels and batches of {CPU_BATCH}, "
            "times multiplied by the ratio of pixels and windows; expect the order of magnitude"
        )
