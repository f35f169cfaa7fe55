"""Rendered releases: which sequences there are, and how all or one of them are rendered."""

from __future__ import annotations

import logging
import shutil
from itertools import count, islice
from pathlib import Path

from sspcore.core.errors import ReleaseError
from sspcore.core.lock import at_work_on
from sspcore.core.parallel import run_jobs
from sspcore.core.progress import tqdm
from sspcore.core.store import stable_hash
from sspcore.data.datasets import SPECS
from sspcore.synthetic.sequence import ReleaseSettings, SequenceJob, is_complete, render, renderer_key

log = logging.getLogger(__name__)


def release_key(dataset: str, settings: ReleaseSettings, seed: int) -> str:
    """Identity of a rendered release: settings, seed and the renderer's code."""
    return stable_hash([settings.model_dump(mode="json"), seed, renderer_key(dataset)])


def sequence_names(dataset: str, settings: ReleaseSettings) -> list[tuple[str, str]]:
    """(split, name) of every sequence of a release.

    Raises: ReleaseError if more validation sequences are asked for than the data set has.
    """
    spec = SPECS[dataset]
    if settings.val_sequences > len(spec.validation):
        raise ReleaseError(
            f"val_sequences={settings.val_sequences}: {spec.title} has {len(spec.validation)}; ask for at most these"
        )
    pattern, first = ("seq{}", 1) if dataset == "uavid" else ("DJI_{:04d}", 43)
    names = (name for name in map(pattern.format, count(first)) if name not in spec.validation)
    train = [("train", name) for name in islice(names, settings.train_sequences)]
    return train + [("val", name) for name in spec.validation[: settings.val_sequences]]


def _jobs(dataset: str, settings: ReleaseSettings, seed: int, root: Path) -> list[SequenceJob]:
    return [
        SequenceJob(dataset, settings, seed, root, split, name, k - (split == "val") * settings.train_sequences)
        for k, (split, name) in enumerate(sequence_names(dataset, settings))
    ]


def missing_sequences(dataset: str, settings: ReleaseSettings, seed: int, root: Path) -> list[str]:
    """Names of the sequences of a release that `render_release` would render."""
    return [job.name for job in _jobs(dataset, settings, seed, root) if not is_complete(job)]


def render_sequence(dataset: str, settings: ReleaseSettings, seed: int, root: Path, name: str) -> None:
    """Render one sequence of a release unless it is complete; several processes may render a release together."""
    (job,) = (job for job in _jobs(dataset, settings, seed, root) if job.name == name)
    with at_work_on(job.root / job.truth):
        if not is_complete(job):
            render(job)


def render_release(dataset: str, settings: ReleaseSettings, seed: int, root: Path, workers: int = 1) -> Path:
    """Render a raw release and its truth; the same seed gives the same files whatever the number of workers.

    Args:
        dataset: "uavid" or "ruralscapes".
        settings: how much and how large.
        seed: of everything random.
        root: receives `<dataset>/` (the release) and `<dataset>_truth/`.
        workers: processes, one sequence each at a time.
    Returns: the release's folder. Sequences complete under the same settings are skipped.
    Raises: ReleaseError.
    """
    root = Path(root)
    jobs = _jobs(dataset, settings, seed, root)
    todo = [job for job in jobs if not is_complete(job)]
    if todo:
        log.info("%s: rendering %d of %d sequences", SPECS[dataset].title, len(todo), len(jobs))
    for stale in root.glob(f".{dataset}_*") if todo else ():  # of a run that was killed
        shutil.rmtree(stale)
    with tqdm(total=settings.source_frames * len(todo), desc=f"render {dataset}", unit="frame", disable=not todo) as bar:
        for frames in run_jobs(render, todo, workers):
            bar.update(frames)
    return root / dataset
