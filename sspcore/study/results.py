"""What the results table of a study stands on: its rows, and the artefacts that they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sspcore.core.files import read_json
from sspcore.models.systems import SYSTEMS, SystemSpec, system
from sspcore.study import places
from sspcore.study.keys import TEACHER
from sspcore.study.places import Place
from sspcore.study.scoring import ROW

if TYPE_CHECKING:
    from sspcore.study.stages import Study


def row_names(study: Study, systems: Sequence[str]) -> list[str]:
    """Systems and controls of the table in its order: the paper's, then further ones as asked for, then controls."""
    in_order = [name for name in SYSTEMS if name in systems]
    return list(dict.fromkeys([*in_order, *systems, *study.controls(systems)]))  # a control may be asked for by name too


def scored_rows(study: Study, datasets: Iterable[str], systems: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that are scored already, under the keys of now; nothing is made."""
    names = row_names(study, systems)
    found = (places.scores(study, name, dataset) for dataset in datasets for name in names)
    return [read_json(place.folder / ROW) for place in found if place.is_made()]


def artefacts(study: Study, datasets: Iterable[str], systems: Sequence[str]) -> list[Place]:
    """All artefacts behind a table: clips, trainings, teacher labels, predictions, scores, the error of the metric's flow."""
    found = [place for dataset in datasets for place in _artefacts(study, dataset, row_names(study, systems))]
    return list({place.folder: place for place in found}.values())


def _artefacts(study: Study, dataset: str, names: Iterable[str]) -> Iterator[Place]:
    yield places.clips(study, dataset)
    if study.profile.rendering is not None:  # real data have no exact flow
        yield places.flow_error(study, dataset)
    for name in names:
        yield from _learned(study, dataset, system(name))
        yield places.predictions(study, name, dataset)
        yield places.scores(study, name, dataset)


def _learned(study: Study, dataset: str, spec: SystemSpec) -> Iterator[Place]:
    """What a system has learned, what its training started from, and the labels that it learned from."""
    if (start := study.start(spec)) is not None:
        yield from _learned(study, dataset, system(start))
    if spec.teacher:
        yield from _learned(study, dataset, SYSTEMS[TEACHER])
        yield places.labels(study, dataset)
        if study.keys.fused(spec):
            yield places.fused(study, dataset)
    if spec.recipe is not None:
        yield places.training(study, spec.name, dataset)
