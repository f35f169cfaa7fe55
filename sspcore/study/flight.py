"""The flight of chapter 13: a reader's own, or one that the profile renders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from sspcore.core.errors import ProfileError, ReleaseError
from sspcore.core.paths import Workspace
from sspcore.data.datasets import DatasetSpec
from sspcore.data.draft import draft_dataset
from sspcore.data.releases import find_sequences
from sspcore.study.chapters import defaults
from sspcore.study.profiles import Profile, load_profile
from sspcore.study.stages import Study
from sspcore.synthetic import render_flight

log = logging.getLogger(__name__)


def flight_file(profile: str, flight: str | Path | None = None) -> Path:
    """The file that describes one's own flight, as an absolute path; in a folder it may not be there yet.

    Args:
        flight: the file, or the folder that holds it as dataset.yaml; None: that of the flight which a profile
            renders, at first use.
    Raises: ReleaseError if there is no such file or folder; ProfileError if the profile renders no flight.
    """
    if flight is not None:
        path = Path(flight).expanduser().absolute()
        if not path.exists():
            raise ReleaseError(f"{path}: no such folder; name the one that holds your video and its labels")
        return path if path.is_file() else path / "dataset.yaml"
    found = load_profile(profile)
    if found.rendering is None or found.rendering.flight is None:
        raise ProfileError(f"profile {found.name}: renders no flight; name the folder of your own as `flight`")
    return render_flight(Workspace(found.name).base / "rendered_flight", found.rendering.flight) / "dataset.yaml"


def open_flight(study: Study, profile: str, notebook: Path) -> Study:
    """A run's study, but of the flight that a notebook's own cells name, or else the rendered one.

    The flight is rendered, and described by a first dataset.yaml, where that is not there yet.

    Args:
        profile: name or file that the study was opened with.
    Raises: ReleaseError, ProfileError, SspError as `flight_file` and `draft_dataset` do.
    """
    file = flight_file(profile, defaults(notebook).get("flight"))
    if not file.exists():
        draft = draft_dataset(file.parent)
        log.info("%s: %s%s", file, draft.summary, "".join(f"\nnote: {note}" for note in draft.notes))
    return Study.open(profile, study.seed, force=study.force, dataset=file)


def headline(profile: Profile, notebooks: Sequence[Path]) -> str:
    """What a run is about, in a line: the profile, and the flight that the notebooks' own cells name, if they name one."""
    line = f"profile {profile.name}: {profile.description}"
    if profile.described:
        return line
    named = {path.name[:2]: flight for path in notebooks if isinstance(flight := defaults(path).get("flight"), str)}
    parts = [f"data of notebook {number}: {flight}" for number, flight in named.items()]
    if named and len(named) == len(notebooks):
        line = f"profile {profile.name}: its networks and training"
    return "; ".join([line, *parts])


def example_video(spec: DatasetSpec) -> Path:
    """A video to look at, a file or a folder of frames: one that is held out, if there is one; of stills alone, the first.

    Args:
        spec: of a data set of one's own.
    Raises: ReleaseError if there is neither a video nor a still.
    """
    sequences = find_sequences(spec.root, spec)
    return min(sequences, key=lambda each: (each.still, each.split != "val", each.name)).video
