"""Hours, GPU memory and disk of every stage on this machine, before it runs: `sspcore plan`.

A few steps of each kind of work are timed on random frames and multiplied by how often the stages do them; nothing is
trained, fetched or prepared. On a GPU everything is timed at the profile's own sizes. On a CPU frames are made smaller
and times are multiplied by the ratio of pixels: attention grows faster than that, caches and threads behave otherwise,
so such hours tell the order of magnitude.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from sspcore.core.errors import SspError
from sspcore.core.images import resize_frame
from sspcore.core.machine import cores, describe, worker_count
from sspcore.core.paths import Workspace
from sspcore.core.progress import tqdm
from sspcore.core.types import Size
from sspcore.data.check import require_release
from sspcore.data.datasets import SPECS
from sspcore.data.prepare import Sequence, count_frames, plan_clips, read_video
from sspcore.models.systems import build, system
from sspcore.motion.flow import RAFTFlow, build_flow
from sspcore.motion.registration import build_registrator
from sspcore.study.cost import N_CLASSES, measure_fps
from sspcore.study.hardware import StepCost, time_training
from sspcore.study.profiles import Profile, choose_datasets, choose_systems, load_profile

CPU_PIXELS = 128 * 224  # of the frames that a CPU times networks on
CPU_BATCH = 2
SAMPLE_FRAMES = 8
FLOAT16, FLOAT32 = 2, 4


@dataclass(frozen=True)
class Row:
    """One stage: hours, GiB of GPU memory (None: needs none, or not measured), GB of disk that it leaves."""

    stage: str
    hours: float | None
    gpu_gib: float | None
    disk_gb: float
    note: str = ""


@dataclass(frozen=True)
class Counts:
    """What a data set holds once it is prepared; `video` is one of its files, None before a release is rendered."""

    train_frames: int
    train_clips: int
    labelled: int
    strided: int
    val_frames: int
    val_clips: int
    video: Path | None


def count(profile: Profile, dataset: str, sequences: Iterable[Sequence] | None) -> Counts:
    """Count clips and windows of a data set from the headers of its videos, or from the renderer's settings (None)."""
    rules, video = profile.clips[dataset], None
    if sequences is None:
        made = profile.rendering.releases[dataset]
        n_frames = (made.frames - 1) * made.frame_step + 1
        labels = set(range(0, n_frames, made.label_interval * made.frame_step))
        videos = [("train", n_frames, labels)] * made.train_sequences + [("val", n_frames, labels)] * made.val_sequences
    else:
        sequences = list(sequences)
        videos = [(each.split, count_frames(each.video), set(each.labels)) for each in sequences]
        video = sequences[0].video
    clips: dict[str, list[tuple[int, int]]] = {"train": [], "val": []}
    for split, n_frames, labels in videos:
        for clip in plan_clips(n_frames, labels, rules):
            clips[split].append((len(clip), sum(number in labels for number in clip[1:])))
    return Counts(
        train_frames=sum(n for n, _ in clips["train"]), train_clips=len(clips["train"]),
        labelled=sum(n for _, n in clips["train"]), strided=sum(n // 2 for n, _ in clips["train"]),
        val_frames=sum(n for n, _ in clips["val"]), val_clips=len(clips["val"]), video=video,
    )


def trainings(systems: Iterable[str]) -> list[str]:
    """All systems to be trained, those that others start from or learn from first."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        spec = system(name)
        if spec.starts_from is not None:
            visit(spec.starts_from)
        if spec.teacher:
            visit("Teacher")
        if spec.recipe is not None:
            order[name] = None

    for name in systems:
        visit(name)
    return list(order)


class Timer:
    """Seconds of each kind of work on one device, each timed once."""

    def __init__(self, profile: Profile, device: torch.device) -> None:
        self.profile, self.device = profile, device
        self._known: dict[tuple[object, ...], object] = {}

    def training(self, name: str, dataset: str) -> StepCost:
        """An optimiser step of a system in one process's share of its batch."""
        spec = system(name)
        recipe = self.profile.recipe(spec.recipe, dataset)
        share = recipe.batch_size // self.profile.machine.process_count(recipe.batch_size, self.device)

        def timed() -> StepCost:
            if self.device.type != "cpu":
                return time_training(name, self.profile, recipe.model_copy(update={"batch_size": share}), self.device)
            crop, factor = smaller(recipe.crop)
            small = recipe.model_copy(update={"batch_size": CPU_BATCH, "crop": crop})
            cost = time_training(name, self.profile, small, self.device, steps=2, warm_up=1)
            return replace(cost, seconds=cost.seconds * factor * share / CPU_BATCH)

        same = (
            spec.image_model, spec.method, spec.options, spec.recurrent, spec.teacher, tuple(recipe.crop),
            recipe.freeze_image, share,
        )
        return self._once(("training", *same), timed)

    def frame(self, name: str, size: Size) -> float:
        """One streamed frame."""
        spec = system(name)

        def timed() -> float:
            used, factor = (size, 1.0) if self.device.type != "cpu" else smaller(size)
            sized = self.profile.model_copy(update={"input_size": used})
            return factor / measure_fps(name, sized, self.device, frames=3, warm_up=1)

        return self._once(("frame", spec.image_model, spec.method, spec.recurrent, size), timed)

    def flow(self, name: str) -> float:
        """Flow of one pair of frames."""
        def timed() -> float:
            size, factor = tuple(self.profile.input_size), 1.0
            if name.startswith("raft"):
                if self.device.type == "cpu":
                    size, factor = smaller(size)
                estimator = RAFTFlow.untrained(int(name.split("-")[1]), self.device)
            else:
                estimator = build_flow(name)
            frames = torch.randn(2, 1, 3, *size)
            return factor * _seconds(lambda: estimator(frames[0], frames[1]).sum().item())

        return self._once(("flow", name), timed)

    def registration(self) -> float:
        """Registration of one pair of frames, on one core."""
        def timed() -> float:
            registrator, frame = build_registrator(self.profile.registration), _texture(self.profile.input_size)
            return _seconds(lambda: registrator(frame, frame))

        return self._once(("registration",), timed)

    def reading(self, dataset: str) -> tuple[float, int]:
        """Seconds to read one prepared frame on one core, and its bytes, from an image of smooth noise."""
        rules = self.profile.clips[dataset]
        size = rules.store_size or self.profile.teacher_size

        def timed() -> tuple[float, int]:
            _, data = cv2.imencode(f".{rules.image_format}", _texture(size))
            read = _seconds(lambda: resize_frame(cv2.imdecode(data, cv2.IMREAD_COLOR), self.profile.input_size))
            return read, data.nbytes

        return self._once(("reading", rules.image_format, size), timed)

    def preparing(self, dataset: str, video: Path) -> tuple[float, float]:
        """Seconds and bytes of one prepared frame, from the first frames of a video."""
        rules = self.profile.clips[dataset]

        def timed() -> tuple[float, float]:
            wanted = set(range(0, min(count_frames(video), SAMPLE_FRAMES * rules.frame_step), rules.frame_step))
            sizes, began = [], time.perf_counter()
            for _, image in read_video(video, wanted):
                stored = resize_frame(image, rules.store_size or image.shape[:2])
                sizes.append(cv2.imencode(f".{rules.image_format}", stored)[1].nbytes)
            return (time.perf_counter() - began) / len(sizes), float(np.mean(sizes))

        return self._once(("preparing", dataset), timed)

    def _once(self, key: tuple[object, ...], work: Callable[[], object]) -> object:
        if key not in self._known:
            self._known[key] = work()
        return self._known[key]


def smaller(size: Size) -> tuple[Size, float]:
    """A size of about CPU_PIXELS in multiples of 32, and how many times fewer pixels it has; `size` if it is no larger."""
    if size[0] * size[1] <= CPU_PIXELS:
        return tuple(size), 1.0
    shrink = (CPU_PIXELS / (size[0] * size[1])) ** 0.5
    small = tuple(max(64, 32 * round(side * shrink / 32)) for side in size)
    return small, size[0] * size[1] / (small[0] * small[1])


def plan(
    profile: Profile, datasets: Iterable[str], systems: Iterable[str], data: Path | None, device: torch.device
) -> Iterator[Row]:
    """Yield a row for each stage of a run.

    Args:
        data: folder of the real releases, which are checked first; None where the profile renders them.
    """
    timer, wanted = Timer(profile, device), list(systems)
    height, width = profile.input_size
    needed = trainings(wanted)
    models = {name: build(name, N_CLASSES, profile, load_weights=False).to("meta") for name in {*needed, *wanted}}
    for dataset in datasets:
        spec = SPECS[dataset]
        checked = data and require_release(data, spec, Workspace(profile.name), max(1, worker_count("auto")))
        title, counts = spec.title, count(profile, dataset, checked and checked.sequences)
        frames = counts.train_frames + counts.val_frames
        sizes = f"{frames} frames, {counts.labelled} labelled windows"
        if counts.video is None:
            size = frames * timer.reading(dataset)[1]
            yield Row(f"{title}: rendering and clips", None, None, size / 1e9, f"{sizes}; not timed")
        else:
            seconds, size = timer.preparing(dataset, counts.video)
            yield Row(f"{title}: clips", frames * seconds / 3600, None, frames * size / 1e9, f"{sizes}; on one core")
        distils = any(system(name).teacher for name in needed)
        pairs = frames - counts.train_clips - counts.val_clips
        if any("homography" in models[name].needs for name in models):
            yield Row(f"{title}: registration", pairs * timer.registration() / 3600, None, 0.0, "on one core")
        fused = 2 * counts.strided if distils and profile.fuse_teacher else 0
        flows = (fused or counts.labelled) + 2 * (counts.val_frames - counts.val_clips)
        yield Row(
            f"{title}: flow ({profile.flow})", flows * timer.flow(profile.flow) / 3600, None,
            flows * 2 * height * width * FLOAT16 / 1e9, f"{flows} pairs",
        )
        for name in needed:
            yield _training_row(timer, name, dataset, counts, models[name])
            if name == "Teacher":
                stores = 1 + bool(fused)
                size = counts.train_frames * SPECS[dataset].n_classes * (height // 4) * (width // 4) * FLOAT16
                hours = counts.train_frames * timer.frame(name, tuple(profile.teacher_size)) / 3600
                yield Row(f"{title}: teacher labels", hours, None, stores * size / 1e9, f"{counts.train_frames} frames")
        for name in wanted:
            size = tuple(profile.teacher_size if system(name).image_model == "teacher" else profile.input_size)
            hours = counts.val_frames * (timer.frame(name, size) + timer.reading(dataset)[0]) / 3600
            yield Row(f"{title}: prediction of {name}", hours, None, 0.0, "scoring not timed")


def _training_row(timer: Timer, name: str, dataset: str, counts: Counts, model: torch.nn.Module) -> Row:
    profile, spec = timer.profile, system(name)
    recipe, cost = profile.recipe(spec.recipe, dataset), timer.training(name, dataset)
    processes = profile.machine.process_count(recipe.batch_size, timer.device)
    windows = (counts.strided if spec.teacher else counts.labelled) * recipe.repeats
    steps = recipe.epochs * -(-windows // recipe.batch_size)
    workers = max(1, worker_count(profile.loader_workers, processes)) * processes
    reading = recipe.batch_size * model.window * timer.reading(dataset)[0] / workers
    note = f"{steps} steps of {max(cost.seconds, reading):.3g} s"
    if reading > cost.seconds:
        note += f", kept waiting by {workers} loader workers"
    if processes > 1:
        note += f"; {processes} GPUs, their exchange not timed"
    if cost.parts > 1:
        note += f"; batch cut into {cost.parts} parts"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Row(
        f"{SPECS[dataset].title}: training {name}", steps * max(cost.seconds, reading) / 3600, cost.memory_gib,
        4 * parameters * FLOAT32 / 1e9, note,  # weights, and while it runs weights, two moments of AdamW
    )


def table(rows: Iterable[Row]) -> str:
    """Rows as aligned text, with their sum."""
    rows = list(rows)
    peaks = [row.gpu_gib for row in rows if row.gpu_gib is not None]
    total = Row(
        "all", sum(row.hours or 0 for row in rows), max(peaks, default=None), sum(row.disk_gb for row in rows)
    )
    lines = [f"{'stage':<48} {'hours':>9} {'GPU GiB':>8} {'disk GB':>8}  note"]
    for row in [*rows, total]:
        hours = "-" if row.hours is None else f"{row.hours:.3g}"
        memory = "-" if row.gpu_gib is None else f"{row.gpu_gib:.1f}"
        lines.append(f"{row.stage:<48} {hours:>9} {memory:>8} {row.disk_gb:8.2f}  {row.note}".rstrip())
    return "\n".join(lines)


def _texture(size: Size) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (size[0] // 4, size[1] // 4, 3), np.uint8)
    return cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    """Median seconds of a call, after one that does not count."""
    work()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def describe_run(
    profile_name: str, datasets: Iterable[str] | None, systems: Iterable[str] | None, data: Path | None
) -> Iterator[str]:
    """Yield the lines of a plan: the machine, the table, and what to know about both.

    Args:
        datasets, systems: default: the profile's.
        data: folder of the real releases.
    Raises: SspError if the profile, the systems or the release are not in order.
    """
    profile = load_profile(profile_name)
    chosen = choose_datasets(profile, profile.datasets if datasets is None else datasets, "--datasets")
    wanted = choose_systems(profile, profile.systems if systems is None else systems, chosen, "--systems")
    if profile.rendering is None and data is None:
        raise SspError(f"profile {profile.name} needs the real releases, whose videos are counted: pass --data DIR")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = describe(device, Workspace(profile.name).base)
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
