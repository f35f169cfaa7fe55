"""The notebooks' part of a publication: outputs of the run's executed copies, and links to its pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sspcore.core.errors import SspError
from sspcore.core.files import read_json
from sspcore.core.notebooks import PUBLISHED, notebook_text
from sspcore.core.paths import REPOSITORY
from sspcore.study.chapters import Chapter, settings, why_run
from sspcore.study.notebook_outputs import Link, problems, with_outputs, without_outputs
from sspcore.study.small_pictures import write_video


class Links:
    """Where a notebook finds pictures: files of the publication, or moving pictures that are added to it.

    Attributes:
        movies: path below the published folder -> file, of those added.
    """

    def __init__(self, files: Mapping[str, Path], target: Path, folder: Path) -> None:
        self._files = {path.read_bytes(): name for name, path in files.items() if path.suffix in (".png", ".gif", ".mp4")}
        self._names, self._target, self._folder = set(files), target, folder
        self.movies: dict[str, Path] = {}

    def of(self, chapter: Chapter) -> Link:
        """The links of one notebook."""
        def link(content: bytes, suffix: str) -> str | None:
            name = self._files.get(content)
            if name is None and suffix == ".png":
                return None
            if name is None:
                name = self._added(f"notebooks/{Path(chapter.name).stem}_{len(self.movies)}", content, suffix)
            video = str(Path(name).with_suffix(".mp4"))  # can be stopped at any frame
            name = video if suffix == ".gif" and video in self._names else name
            return Path(os.path.relpath(self._target / name, chapter.source.parent)).as_posix()

        return link

    def _added(self, name: str, content: bytes, suffix: str) -> str:
        """Add a moving picture to the publication, as a video; its name there."""
        name += ".mp4" if suffix == ".gif" else suffix
        self.movies[name] = self._folder / Path(name).name
        if suffix == ".gif":
            write_video(content, self.movies[name])
        else:
            self.movies[name].write_bytes(content)
        return name


def published_origin(results: Mapping[str, Any]) -> dict[str, Any]:
    """What a notebook with outputs says of the run that they are from; `results`: of `tables/results.json`."""
    origin = results["provenance"]
    seed = origin.get("seed", next(iter(origin.get("seeds", [])), None))
    return {name: origin.get(name) for name in ("commit", "profile")} | {"seed": seed, "data": origin.get("data_key")}


def published_notebooks(
    chapters: Sequence[Chapter], optional: Sequence[Chapter], origin: Mapping[str, Any], links: Links
) -> dict[Path, str]:
    """Notebook -> its new text: with the outputs of its executed copy, or without any.

    Args:
        chapters: those that the run has executed.
        optional: all others; they have outputs if their copies are up to date and by the same commit.
        origin: see `published_origin`.
    Raises: SspError if a copy is missing, stale, by another commit, or holds what is not for the repository.
    """
    texts = {}
    for chapter in (*chapters, *optional):
        source = read_json(chapter.source)
        why = _why_not(chapter, origin["commit"])
        if why is None:
            texts[chapter.source] = notebook_text(_published(chapter, source, origin, links))
        elif chapter in chapters:
            raise SspError(f"--publish: {chapter.name}: {why}; run it again (--only {chapter.name[:2]} --force)")
        else:
            texts[chapter.source] = notebook_text(without_outputs(source))
    return texts


def foreign_outputs(notebooks: Sequence[Path], results: Mapping[str, Any]) -> list[str]:
    """Notebooks whose outputs are of another run than `results`, or not for the repository, a line each."""
    expected, found = published_origin(results), []
    for path in notebooks:
        origin = settings(path).get(PUBLISHED, expected)
        found += [f"{path.name}: outputs of {origin}, results of {expected}"] * (origin != expected)
        found += [f"{path.name}: {problem}" for problem in problems(read_json(path))]
    return found


def _published(chapter: Chapter, source: dict[str, Any], origin: Mapping[str, Any], links: Links) -> dict[str, Any]:
    places = {f"{chapter.root}/": "data/", f"{REPOSITORY}/": "", str(REPOSITORY): "."}
    try:
        notebook = with_outputs(source, read_json(chapter.executed), origin, links.of(chapter), places)
    except SspError as error:
        raise SspError(f"--publish: {chapter.name}, {error}") from error
    if found := next(problems(notebook), None):
        raise SspError(f"--publish: {chapter.name}, {found}: not for the repository")
    return notebook


def _why_not(chapter: Chapter, commit: str) -> str | None:
    """Why an executed copy is not published; None if it is up to date and by this commit."""
    if why := why_run(chapter.stamp, chapter.key):
        return why
    maker = read_json(chapter.stamp).get("commit")
    return None if maker == commit else f"was executed by commit {maker or 'unknown'}"
