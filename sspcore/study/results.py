"""The rows of all systems with their provenance: what results.json holds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sspcore.core.provenance import provenance, run_began
from sspcore.core.store import stable_hash
from sspcore.models.systems import SYSTEMS, control

if TYPE_CHECKING:
    from sspcore.study.stages import Study


def controls(study: Study, systems: Iterable[str] = ()) -> list[str]:
    """Names of the constant-alpha controls that the profile asks for: on Base, and on KD Base if it is among `systems`."""
    images = ["Base", *(name for name in ("KD Base",) if name in systems)]
    return [control(alpha, image).name for image in images for alpha in study.profile.constant_alphas]


def results(study: Study, systems: list[str], datasets: list[str]) -> dict[str, Any]:
    """Provenance and rows of the systems and their controls on the data sets, in the order of the paper's table."""
    in_order = [name for name in SYSTEMS if name in systems]
    names = dict.fromkeys([*in_order, *systems, *controls(study, systems)])  # a control may be asked for by name too
    rows = [study.evaluate(name, dataset) for dataset in datasets for name in names]
    return {"provenance": origin(study, datasets), "rows": rows}


def origin(study: Study, datasets: Iterable[str]) -> dict[str, Any]:
    """Where the numbers of a table come from."""
    keys = stable_hash([study.clips_key(name) for name in datasets])
    return provenance(study.profile.name, study.seed, keys) | {
        "data": study.data_origin, "metric_flow": study.profile.metric_flow,
        "metric_flow_epe_px": {name: study.flow_error(name) for name in datasets},
        "minutes": round((time.time() - run_began()) / 60, 1),
    }
