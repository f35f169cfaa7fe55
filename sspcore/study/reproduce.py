"""The whole study in one call: `sspcore reproduce`, which `./reproduce.sh` calls.

What the numbered notebooks show is worked out by the engine, and each notebook is executed as soon as that is there, with the
chosen profile, data sets, systems and seeds as parameters. Tables grow with every scored system.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from sspcore.core.errors import ArtefactError, ReleaseError, SspError
from sspcore.core.files import read_json, remove_leftovers, write_json
from sspcore.core.lock import exclusive
from sspcore.core.machine import worker_count
from sspcore.core.paths import Workspace, shown
from sspcore.core.provenance import RUN_BEGAN
from sspcore.core.store import stable_hash
from sspcore.data.check import check_release, report, source_files
from sspcore.study.ablations import plan, under_choice
from sspcore.study.chapters import Chapter, chapter_key, choose_notebooks, find_notebooks, settings, why_run
from sspcore.study.engine.graph import Planner
from sspcore.study.engine.make import cluster, run_tasks
from sspcore.study.engine.run import Outcome
from sspcore.study.engine.schedule import needed_by
from sspcore.study.engine.task import Call, Task
from sspcore.study.flight import headline, open_flight
from sspcore.study.keys import TEACHER
from sspcore.study.profiles import CONTROL_IMAGE, available_profiles, choose_datasets, choose_systems
from sspcore.study.publish import publish, require_publishable
from sspcore.study.requirements import require_start
from sspcore.study.stages import Study

STAGES = ("prepare", "train", "label", "predict", "evaluate")
EARLY = (CONTROL_IMAGE, "SSP")  # systems whose rows come first, data set by data set
DRAW = Callable[[Study, str, Sequence[str], Sequence[str]], None]  # pictures of a data set, of systems, among data sets
NEWS = Callable[[Sequence[Study], Sequence[str], Sequence[str]], str]  # writes the tables so far; what is new in them


@dataclass(frozen=True)
class Request:
    """What is asked for; each attribute is an option of the command `sspcore reproduce`."""

    profile: str = "demo"
    datasets: Iterable[str] | None = None
    systems: Iterable[str] | None = None
    only: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    data: Path | None = None
    dataset: Sequence[Path] | None = None
    ablations: bool = False
    force: bool = False
    workers: int | None = None
    scheduler: str | None = None
    publish: bool = False


@dataclass(frozen=True)
class Chosen:
    """A request, looked up: studies one a seed, data sets, systems with Base in front, notebooks."""

    studies: list[Study]
    datasets: list[str]
    systems: list[str]
    notebooks: list[Path]
    parameters: dict[str, Any]  # of the notebooks

    @property
    def workspace(self) -> Workspace:
        return self.studies[0].workspace


def reproduce(request: Request, news: NEWS | None = None, draw: DRAW | None = None) -> None:
    """Make all that is asked for.

    Args:
        news: called with each system that is scored.
        draw: a function of a module; draws the pictures of one data set that need no table, beside other work.
    Raises: SspError for wrong usage, and at the end for what failed on the way; the rest is done by then.
    """
    os.environ[RUN_BEGAN] = str(time.time())  # inherited by workers
    chosen = choose(request)
    study, base = chosen.studies[0], chosen.workspace.base
    if request.publish:
        require_publishable(study.profile, chosen.datasets, chosen.systems)
    with exclusive(base):
        remove_leftovers(base)
        show_check(study, chosen.datasets)
        inputs_key = stable_hash([study.profile.model_dump(mode="json"), releases_key(study, chosen.datasets)])
        print(headline(study.profile, chosen.notebooks), flush=True)
        began = time.perf_counter()
        tasks, first = graph(chosen, inputs_key, request.force, draw)
        if request.scheduler is None and any(task.kind == "train" for task in tasks.values()):  # else it is others' machines
            require_start(study.profile, chosen.systems, request.profile)
        outcome = Outcome([], {}, set())
        if tasks:
            try:
                with cluster(study, request.workers, request.scheduler) as client:
                    run_tasks(client, study, tasks, first, _tell_news(chosen, news), _known(base), outcome)
            finally:
                _note_records(base, tasks, outcome)
        outcome.raise_failures()
        print(f"done in {(time.perf_counter() - began) / 60:.1f} min; tables and pictures: {shown(study.figures)}/, "
              f"executed notebooks: {shown(chosen.workspace.notebooks)}/", flush=True)
        if request.publish:
            finished = [replace(each, read_only=True, force=frozenset()) for each in chosen.studies]
            chapters = [chapter_of(path, chosen, inputs_key) for path in find_notebooks(None)]
            run = [path.name for path in chosen.notebooks]
            publication = publish(
                finished, chosen.datasets, chosen.systems, None, [each for each in chapters if each.name in run],
                [each for each in chapters if each.name not in run],
            )
            stay = f"; {len(publication.kept)} of earlier publications stay" if publication.kept else ""
            print(f"published {len(publication.written)} files in {shown(publication.folder)}/{stay}; "
                  f"{publication.notebooks} notebooks have the outputs of this run", flush=True)


def choose(request: Request) -> Chosen:
    """Look up what is asked for. Raises: SspError naming the option that is wrong."""
    force = STAGES if request.force else ()
    seeds = [None] if request.seeds is None else list(dict.fromkeys(request.seeds))
    studies = [Study.open(request.profile, seed, request.data, force, dataset=request.dataset) for seed in seeds]
    profile = studies[0].profile
    datasets = choose_datasets(profile, profile.datasets if request.datasets is None else request.datasets, "--datasets")
    asked = profile.systems if request.systems is None else request.systems
    systems = choose_systems(profile, asked, datasets, "--systems")
    if CONTROL_IMAGE not in asked:
        print(f"{CONTROL_IMAGE} is added: the controls are built on it, tables and pictures compare with it", flush=True)
    parameters = {
        # kernels run in notebooks/: what is relative to the caller's folder must not stay so
        "profile": request.profile if request.profile in available_profiles() else str(Path(request.profile).resolve()),
        "seed": studies[0].seed, "seeds": [study.seed for study in studies], "datasets": datasets, "systems": systems,
        "data": None if request.data is None else str(Path(request.data).resolve()), "force": False,
        "dataset_files": None if request.dataset is None else [str(Path(path).resolve()) for path in request.dataset],
    }
    if request.dataset:  # chapter 13 is about one flight
        parameters["flight"] = parameters["dataset_files"][0]
    notebooks = choose_notebooks(request.only, systems, request.ablations, own_data=bool(profile.described))
    return Chosen(studies, datasets, systems, notebooks, parameters)


def graph(
    chosen: Chosen, inputs_key: str, force: bool, draw: DRAW | None = None
) -> tuple[dict[str, Task], list[tuple[str, ...]]]:
    """The tasks of a run, and groups of them that are wanted early. Says which notebooks are up to date."""
    tasks: dict[str, Task] = {}
    planners = [
        Planner(study, tasks, len(chosen.studies) > 1, study.controls(chosen.systems)) for study in chosen.studies
    ]
    for path in chosen.notebooks:
        needs = shown_in(path, planners, chosen)
        chapter = chapter_of(path, chosen, inputs_key)
        # motion is a cache: its tasks are not looked for on disk, and what needs no other task may be up to date
        stale = any(tasks[need].kind not in ("register", "flow") for need in needs)
        if stale or force or why_run(chapter.stamp, chapter.key) is not None:
            if "pictures" in settings(path) and draw is not None:
                needs += _drawing(draw, planners[0], chosen)
            call = Call(planners[0].spec, "notebook", (chapter,))
            name = f"notebook-{path.stem}"
            tasks[name] = Task(name, "notebook", f"notebook {path.stem}", call, needs, 1.0, f"notebook {path.name[:2]}")
        else:
            print(f"{path.stem}: up to date, skipped", flush=True)
    wanted = [("evaluate", name, dataset) for dataset in chosen.datasets for name in EARLY if name in chosen.systems]
    wanted_tasks = needed_by(tasks, [name for name, task in tasks.items() if task.kind == "notebook"])
    tasks = {name: task for name, task in tasks.items() if name in wanted_tasks}
    ours = planners[0].spec
    in_graph = {
        (task.call.method, *task.call.arguments): name for name, task in tasks.items()
        if task.kind == "score" and task.call.study == ours
    }
    return tasks, [(in_graph[goal],) for goal in wanted if goal in in_graph]


def chapter_of(path: Path, chosen: Chosen, inputs_key: str) -> Chapter:
    """A notebook as this run executes it."""
    root, key = str(chosen.workspace.root.absolute()), chapter_key(path, chosen.parameters, inputs_key)
    return Chapter(path.name, chosen.parameters, root, chosen.workspace.profile, key, float(os.environ[RUN_BEGAN]))


def _drawing(draw: DRAW, planner: Planner, chosen: Chosen) -> tuple[str, ...]:
    """Names of the tasks that draw a run's pictures, one a data set."""
    for dataset in chosen.datasets:
        name, goals = f"draw-{dataset}", results_goals(planner.study, chosen.systems, [dataset])
        call = Call(planner.spec, "draw", (draw, dataset, chosen.systems, chosen.datasets))
        title = f"{planner.study.spec(dataset).title}: drawing"
        planner.tasks[name] = Task(name, "draw", title, call, planner.goals(goals), 1.0, "draw", device=True)
    return tuple(f"draw-{dataset}" for dataset in chosen.datasets)


def shown_in(notebook: Path, planners: list[Planner], chosen: Chosen) -> tuple[str, ...]:
    """Names of the tasks that make what a notebook shows, by its metadata: {"shows": {what: [systems]}}.

    `what` is "clips", "motion", "training", "labels", "scores" or "results" (scores of the systems named, by default all, and
    of controls, for every seed), "ablations" (of the methods named) or "image_models" (networks in place of Base's: scores of
    Base and SSP). Systems that are not part of the run are passed over, but for a notebook whose metadata say `flight`, which
    is about a flight. What is not named here a notebook makes by itself.
    """
    metadata, datasets = settings(notebook), chosen.datasets
    shows, of_flight = metadata.get("shows", {}), metadata.get("flight", False)
    if of_flight and not planners[0].study.profile.described:
        study, systems = open_flight(planners[0].study, chosen.parameters["profile"], notebook), shows["results"]
        planners, datasets = [Planner(study, planners[0].tasks, controls=study.controls(systems))], study.profile.datasets
    planner = planners[0]
    goals: list[tuple[Any, ...]] = []
    others: tuple[str, ...] = ()
    for what, named in shows.items():
        names = [name for name in named if of_flight or name in chosen.systems or name == TEACHER]
        match what:
            case "clips":
                goals += [("prepare", dataset) for dataset in datasets]
            case "motion":
                goals += [("motion", dataset) for dataset in datasets]
            case "training":
                goals += [("train", name, dataset) for dataset in datasets for name in names]
            case "labels":
                goals += [("fused", dataset) for dataset in datasets]
            case "scores":
                goals += [("evaluate", name, dataset) for dataset in datasets for name in names]
            case "ablations":
                others += variants(planner.tasks, planner.study, datasets, named)
            case "image_models":
                others += planner.changed(({"models.base": each}, *row) for each in named for row in product(EARLY, datasets))
            case "results":
                for each in planners:
                    others += each.goals(results_goals(each.study, names or chosen.systems, datasets))
            case _:
                raise SspError(f"{notebook.name}: its metadata say that it shows '{what}', which is unknown")
    return tuple(dict.fromkeys((*planner.goals(goals), *others)))


def variants(tasks: dict[str, Task], study: Study, datasets: Sequence[str], methods: Iterable[str]) -> tuple[str, ...]:
    """Names of the tasks that make the ablations of some methods."""
    names: list[str] = []
    for method in methods:
        found = plan(chosen := under_choice(study, method), datasets, method=method)
        names += Planner(chosen, tasks).changed((variant.overrides, variant.system, dataset) for dataset, variant in found)
    return tuple(dict.fromkeys(names))


def results_goals(study: Study, systems: Sequence[str], datasets: Sequence[str]) -> list[tuple[Any, ...]]:
    """Scores of systems and of their controls, and the error of the flow that they were measured with."""
    names = [*systems, *study.controls(systems)]
    return [("evaluate", name, dataset) for dataset in datasets for name in names] + [("flow_error", each) for each in datasets]


def releases_key(study: Study, datasets: list[str]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files of real data, so that a change is noticed; empty without any."""
    real = datasets if study.is_real else []
    files = [path for name in real for path in source_files(study.release_root, study.spec(name))]
    return [(str(path), (status := path.stat()).st_size, status.st_mtime_ns) for path in files]


def show_check(study: Study, datasets: list[str]) -> None:
    """Look at real data and print what is there. Raises: ReleaseError if a data set cannot go on."""
    if not study.is_real:
        return
    workers = max(1, worker_count("auto"))
    checked = [check_release(study.release_root, study.spec(name), study.workspace, workers) for name in datasets]
    print(report(checked), flush=True)
    if stops := [each.stops for each in checked if each.stops]:
        raise ReleaseError(stops[0])


def _tell_news(chosen: Chosen, news: NEWS | None) -> Callable[[Task], str | None]:
    """What to say after a task: after a score, what is new in the tables."""
    def after(task: Task) -> str | None:
        if news is None or task.kind != "score":
            return None
        return news(chosen.studies, chosen.datasets, chosen.systems)

    return after


def _records(base: Path) -> list[dict[str, Any]]:
    try:
        return read_json(base / "engine.json")
    except ArtefactError:
        return []


def _known(base: Path) -> list[tuple[str, float, float]]:
    """What earlier runs of this folder have measured: rate, units, seconds."""
    return [(record["rate"], record["units"], record["seconds"]) for record in _records(base)]


def _note_records(base: Path, tasks: Mapping[str, Task], outcome: Outcome) -> None:
    """Add what a run's tasks took to `engine.json`, in place of what earlier runs say of the same tasks."""
    new = [
        asdict(record) | {"seconds": record.seconds} | {
            name: getattr(tasks[record.name], name) for name in ("kind", "title", "rate", "units", "needs")
        }
        for record in outcome.records if record.made
    ]
    names = {record["name"] for record in new}
    write_json(base / "engine.json", [record for record in _records(base) if record["name"] not in names] + new)
