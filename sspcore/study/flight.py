"""The flight of chapter 13: a reader's own folder, or one that the profile renders."""

from __future__ import annotations

from pathlib import Path

from sspcore.core.errors import ProfileError, ReleaseError
from sspcore.core.paths import Workspace
from sspcore.data.datasets import DatasetSpec
from sspcore.data.releases import find_sequences
from sspcore.study.profiles import load_profile
from sspcore.synthetic import render_flight


def flight_folder(profile: str, flight: str | Path | None = None) -> Path:
    """The folder of one's own flight, as an absolute path; None: the rendered one of a profile, made at first use.

    Raises: ReleaseError if there is no such folder; ProfileError if the profile renders no flight.
    """
    if flight is not None:
        folder = Path(flight).expanduser().absolute()
        if not folder.is_dir():
            raise ReleaseError(f"{folder}: no such folder; name the one that holds your video and its labels")
        return folder
    found = load_profile(profile)
    if found.rendering is None or found.rendering.flight is None:
        raise ProfileError(f"profile {found.name}: renders no flight; name the folder of your own as `flight`")
    return render_flight(Workspace(found.name).base / "rendered_flight", found.rendering.flight)


def example_video(spec: DatasetSpec) -> Path:
    """A video to look at, a file or a folder of frames: one that is held out, if there is one; of stills alone, the first.

    Args:
        spec: of a data set of one's own.
    Raises: ReleaseError if there is neither a video nor a still.
    """
    sequences = find_sequences(spec.root, spec)
    return min(sequences, key=lambda each: (each.still, each.split != "val", each.name)).video
