"""A system's row of the results table, from its label maps on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sspcore.core.files import read_json, write_json
from sspcore.evaluation.clips import evaluate_system
from sspcore.models.systems import build, encoder_start, image_spec, stand_in, system
from sspcore.study.fitting import training_steps

if TYPE_CHECKING:
    from sspcore.study.stages import Study

ROW, CLIPS = "row.json", "clips.json"  # in the folder of a system's scores: its row of the table, and what that rests on


def row(study: Study, name: str, dataset: str, predictions: Path) -> dict[str, Any]:
    """Scores of the label maps in `predictions`, with what a reader of the table has to know of the system.

    Under "clips": what they rest on clip by clip, see `evaluate_system`.
    """
    classes, profile = study.spec(dataset), study.profile
    model = build(name, classes.n_classes, profile, load_weights=False)
    size = study.scored_size(system(name))
    figures = evaluate_system(
        study.clips(dataset, "val"), predictions, classes, study.flows(dataset, profile.metric_flow, size),
        study.exact_flows(dataset, size), size, profile.conventions,
    )
    return {
        "system": name, "kind": system(name).kind, "dataset": dataset, "scored_size": list(size),
        "miou": figures.pop("miou"), "tc": figures.pop("tc"), **figures,
        "params_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 4),
        "encoder": image_spec(name, profile).title, "encoder_start": encoder_start(image_spec(name, profile)),
        "stand_in": stand_in(name, profile), "training_steps": training_steps(study, name, dataset),
        "registration_fallback_rate": read_json(predictions / "stream.json")["registration_fallback_rate"],
    }


def write(row: dict[str, Any], folder: Path) -> None:
    """Write a row, and what it rests on clip by clip apart: that is no part of the table."""
    write_json(folder / CLIPS, row["clips"])
    write_json(folder / ROW, {key: value for key, value in row.items() if key != "clips"})
