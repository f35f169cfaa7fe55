"""What a frame costs, for the rows of the results table: multiply-adds of the profile's own models at their input size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sspcore.models.systems import build, system
from sspcore.study.cost import FlowCost, Macs, flow_cost, own_raft, stream_macs
from sspcore.study.profiles import Profile

Row = dict[str, Any]
GIGA_DIGITS = 4


def with_costs(results: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """Results whose rows name their data and hold "gmacs", "gmacs_with_attention" and "flow_counted".

    Multiply-adds in billions of one streamed frame (mean over a key interval for DFF), at the size that the system sees,
    by the convention of the published table and with attention's products. Registration and flow estimators other than
    RAFT are in no figure: rows that need such a flow have "flow_counted" False, rows that need none None.
    Figures that a row has already are kept.
    """
    flow, known = flow_cost(profile), {}

    def costed(row: Row) -> Row:
        if "gmacs" not in row:
            shape = _shape(row["system"], row["dataset"], profile)
            if shape not in known:
                known[shape] = _cost(row["system"], row["dataset"], profile, flow)
            row = row | known[shape]
        return row | {"data": results["provenance"]["data"]}

    return {**results, **{key: list(map(costed, results[key])) for key in ("rows", "rows_by_seed") if key in results}}


def _shape(name: str, dataset: str, profile: Profile) -> tuple[object, ...]:
    """What systems of equal cost share: how they were trained does not matter, nor the value of a control's constant."""
    spec = system(name)
    options = spec.options.model_copy(update={"alpha": 0.0}) if spec.method == "ssp" else spec.options
    return spec.image_model, spec.method, options, profile.spec(dataset).n_classes


def _cost(name: str, dataset: str, profile: Profile, flow: FlowCost) -> Row:
    model = build(name, profile.spec(dataset).n_classes, profile, load_weights=False).eval().to("meta")
    size = profile.teacher_size if system(name).image_model == "teacher" else profile.input_size
    given = "flow" in model.needs
    macs = stream_macs(model, tuple(size), flow.macs if given else Macs())
    return {
        "gmacs": round(macs.linear, GIGA_DIGITS), "gmacs_with_attention": round(macs.total, GIGA_DIGITS),
        "flow_counted": flow != FlowCost() if given else True if own_raft(model) is not None else None,
    }
