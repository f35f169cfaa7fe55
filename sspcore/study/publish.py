"""Publishing a run: its tables and pictures are copied into the repository, if the run is complete and of one commit's code.

An artefact of an earlier commit counts as this one's if its key is valid now: the key holds the code that makes it. Tables,
pictures and notebooks are of the commit itself. So a sentence of a chapter can be mended without training again.

So are the outputs of its notebooks (`sspcore.study.notebook_outputs`); a notebook that this run has not executed has none.

The published folder may hold other files, such as measurements by benchmarks. What a publication has written is listed in
its published.json; the next one may replace that and touches nothing else. What it has nothing new for (tables and pictures of
optional chapters) stays, listed with the commit that it is from.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from sspcore.core.errors import ArtefactError, SspError
from sspcore.core.files import atomic_file, read_json, write_json
from sspcore.core.notebooks import PUBLISHED
from sspcore.core.paths import REPOSITORY, Workspace, shown
from sspcore.core.provenance import git_commit, is_earlier
from sspcore.core.store import KEY_FILE
from sspcore.study.chapters import Chapter, settings
from sspcore.study.places import Place, scores
from sspcore.study.profiles import Profile
from sspcore.study.publish_notebooks import Links, published_notebooks, published_origin
from sspcore.study.results import artefacts, row_names
from sspcore.study.scoring import ROW
from sspcore.study.stages import Study

MANIFEST, COPIES = "published.json", ".publish."
UNKNOWN = "unknown"
TABLES = "tables/results.json"
LOCKS = "*.lock"  # the packages that an artefact was made with, which its key does not hold
CHAPTER = "08_tables_and_figures.json"  # the stamp of the notebook that writes the tables and pictures


@dataclass(frozen=True)
class Publication:
    """What was written, and which files of earlier publications stay since this run has none in their place.

    Both relative to `folder`. `notebooks`: how many have outputs of this run now.
    """

    folder: Path
    written: list[str]
    kept: list[str]
    notebooks: int = 0


def publish(
    studies: Sequence[Study], datasets: Sequence[str], systems: Sequence[str], folder: Path | None = None,
    chapters: Sequence[Chapter] = (), optional: Sequence[Chapter] = (),
) -> Publication:
    """Copy a run's tables and pictures to where its profile is published, and its notebooks' outputs into the notebooks.

    Args:
        studies: one a training seed of the run, read only.
        datasets, systems: of the run.
        folder: default: the profile's `publish_to` in the repository.
        chapters: the notebooks that the run has executed.
        optional: all others; those that are up to date, and of the same commit, are published too.
    Raises: SspError, before anything is written, if the profile cannot be published, the run is not complete, or part of it
        was made by other code than that of the commit that is checked out.
    """
    profile, workspace, seeds = studies[0].profile, studies[0].workspace, [study.seed for study in studies]
    commit = require_publishable(profile, datasets, systems)
    places = [place for study in studies for place in artefacts(study, datasets, systems)]
    places = list({place.folder: place for place in places}.values())
    makers = require_made(places, commit, profile.name)
    require_tables(studies, datasets, systems, commit)
    files = published_files(workspace)
    target = REPOSITORY / profile.publish_to if folder is None else folder
    origin = published_origin(read_json(workspace.figures / TABLES))
    about = {"profile": profile.name, "commit": commit, "seeds": seeds, "artefacts": makers}
    with tempfile.TemporaryDirectory() as movies:
        links = Links(files, target, Path(movies))
        texts = published_notebooks(chapters, optional, origin, links)
        publication = replace_published(files | links.movies, target, about)
    for path, text in texts.items():
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return replace(publication, notebooks=sum(PUBLISHED in settings(path) for path in texts))


def require_publishable(profile: Profile, datasets: Sequence[str], systems: Sequence[str]) -> str:
    """The commit that a run would be published for: what can be checked before it begins.

    Raises: SspError if the profile is not published, if the code is not that of a commit, or if the run leaves out a data
        set or a system of its profile.
    """
    if profile.described:
        raise SspError("--publish: figures/ is for the project's own data sets; take yours from the run's folder")
    if profile.publish_to is None:
        raise SspError(f"--publish: profile {profile.name} is not published: its numbers are no result (publish_to is not set)")
    commit = git_commit()
    if commit == UNKNOWN or commit.endswith("+"):
        why = "there is no git here" if commit == UNKNOWN else f"the work tree differs from commit {commit.removesuffix('+')}"
        raise SspError(f"--publish: {why}, so the results' code could not be named; commit the code, then run again")
    for option, wanted, asked in (("--datasets", profile.datasets, datasets), ("--systems", profile.systems, systems)):
        missing = [name for name in wanted if name not in asked]
        if missing:
            raise SspError(
                f"--publish: a complete run of profile {profile.name} is needed; {option} leaves out {', '.join(missing)}"
            )
    return commit


def require_made(places: Iterable[Place], commit: str, profile: str) -> dict[str, int]:
    """How many artefacts each commit has made.

    Raises: SspError if one is missing or stale, or was made neither by `commit` nor by an earlier one with the same packages.
    """
    places = list(places)
    missing = [place for place in places if not place.is_made()]
    if missing:
        first = f"{missing[0].title}, {shown(missing[0].folder)}"
        raise SspError(
            f"--publish: {len(missing)} of {len(places)} artefacts are missing or stale (the first: {first}); let sspcore "
            f"reproduce --profile {profile} run to its end first"
        )
    makers = Counter(str(read_json(place.folder / KEY_FILE).get("commit", UNKNOWN)) for place in places)
    others = Counter({maker: n for maker, n in makers.items() if maker != commit and not is_earlier(maker, LOCKS)})
    if others:
        whose = ", ".join(f"{count} by {maker}" for maker, count in others.most_common())
        whose += "; +: with a work tree that differed" if any(maker.endswith("+") for maker in others) else ""
        (maker, count), *_ = others.most_common()
        other = f", or check out {maker}" if count == len(places) and maker != UNKNOWN and "+" not in maker else ""
        raise SspError(
            f"--publish: {others.total()} of {len(places)} artefacts were made neither by commit {commit} nor by an earlier "
            f"one with the same locked packages ({whose}); run again with --force, or from nothing{other}"
        )
    return dict(makers.most_common())


def require_tables(studies: Sequence[Study], datasets: Sequence[str], systems: Sequence[str], commit: str) -> None:
    """Raises: SspError if the run's tables or pictures are not there, of another commit, or not made from its artefacts."""
    figures = studies[0].figures
    path, again = figures / TABLES, "run chapter 08 again (--only 08 --force)"
    try:
        results = read_json(path)
    except ArtefactError:
        raise SspError(f"--publish: {shown(path)} is missing or damaged; {again}") from None
    expected = {
        (study.seed, dataset, name): read_json(scores(study, name, dataset).folder / ROW)
        for study in studies for dataset in datasets for name in row_names(study, systems)
    }
    origin = results["provenance"]
    seed = origin.get("seed")
    found = {
        (row.get("seed", seed), row["dataset"], row["system"]): row for row in results.get("rows_by_seed", results["rows"])
    }
    if "so_far" in results or found.keys() != expected.keys() or any(
        found[key].get(name) != value for key, row in expected.items() for name, value in row.items()
    ):
        raise SspError(f"--publish: {shown(path)} is not the table of this run's artefacts; {again}")
    ended = studies[0].workspace.notebooks / CHAPTER  # the last that a run writes of a chapter
    if not ended.is_file() or ended.stat().st_mtime < path.stat().st_mtime:
        raise SspError(f"--publish: {shown(ended)} is missing or older than the tables: chapter 08 did not end; {again}")
    others = {name: maker for name, maker in _makers(figures).items() if maker != commit}
    if others:
        name, maker = next(iter(others.items()))
        raise SspError(
            f"--publish: {len(others)} tables and pictures were not made by commit {commit} (the first: "
            f"{shown(figures / name)}, by {maker}); run their chapters again, or delete them"
        )


def published_files(workspace: Workspace) -> dict[str, Path]:
    """What a publication of a run consists of: path below the published folder -> the run's file."""
    return {
        path.relative_to(workspace.figures).as_posix(): path
        for path in sorted(workspace.figures.rglob("*")) if path.is_file() and not path.name.startswith(".")
    }


def replace_published(files: Mapping[str, Path], folder: Path, about: Mapping[str, Any]) -> Publication:
    """Put copies of `files` in the place of what an earlier publication wrote into `folder`, file by file.

    All copies are made before the first file is replaced. Killed in between, it can be called again.

    Args:
        about: what published.json says beside the list of files.
    Raises: SspError, before anything is written, if a file would replace one that no publication has written.
    """
    manifest = folder / MANIFEST
    before = _published_before(manifest)
    for name in files:
        if name == MANIFEST or ((folder / name).exists() and name not in before):
            raise SspError(f"--publish: {shown(folder / name)} was not written by a publication; move it away first")
    kept = {name: commit for name, commit in before.items() if name not in files and (folder / name).is_file()}
    earlier = {commit: sorted(name for name in kept if kept[name] == commit) for commit in sorted(set(kept.values()))}
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{COPIES}*"):  # of one that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=folder, prefix=COPIES) as copies:
        for name, source in files.items():
            (Path(copies) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, Path(copies) / name)
        write_json(manifest, {**about, "files": sorted(files), "earlier": earlier})  # first: a killed one can be called again
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(copies) / name, folder / name)
    return Publication(folder, sorted(files), sorted(kept))


def _published_before(manifest: Path) -> dict[str, str]:
    """Files of earlier publications, and the commit that each is from."""
    if not manifest.is_file():
        return {}
    known = read_json(manifest)
    found = {name: commit for commit, names in known.get("earlier", {}).items() for name in names}
    return found | dict.fromkeys(known["files"], known.get("commit", UNKNOWN))


def _makers(figures: Path) -> dict[str, str]:
    """Table or picture -> the commit that it says it was made by; pictures as PDF and the movie are made with the others."""
    tables = {path: read_json(path).get("provenance", {}) for path in sorted((figures / "tables").glob("*.json"))}
    found = {path.relative_to(figures).as_posix(): str(origin.get("commit", UNKNOWN)) for path, origin in tables.items()}
    for path in sorted(figures.glob("*.png")):
        with Image.open(path) as picture:
            found[path.name] = str(picture.info.get("sspcore.commit", UNKNOWN))
    return found
