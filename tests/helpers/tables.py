"""Rows of a table of results."""

from __future__ import annotations


def row(system: str, kind: str, miou: float, tc: float) -> dict:
    return {
        "system": system, "kind": kind, "dataset": "uavid", "miou": miou, "tc": tc, "tc_exact_flow": tc, "tc_reference": None,
        "miou_moving": miou, "params_m": 4.0, "encoder_start": "scratch",
        "per_class_iou": {"road": miou}, "per_class_tc": {"road": tc},
        "stand_in": "small for large", "training_steps": 7, "gmacs": 1.5, "flow_counted": None,
    }
