"""The figures of a machine as tables, printed by the command and shown in the documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sspcore.study.benchmark.session import DONE
from sspcore.study.published import published
from sspcore.study.text_table import text_table

Row = dict[str, Any]


def training(figures: Mapping[str, Any]) -> list[Row]:
    """Seconds of a training step and GiB of the GPU's memory, a row a system and a column a mode."""
    rows: dict[str, Row] = {}
    for entry in figures["training"]:
        row = rows.setdefault(entry["system"], {"system": entry["system"]})
        memory = "" if entry["memory_gib"] is None else f", {entry['memory_gib']:.1f} GiB"
        parts = f", {entry['parts']} parts" if entry["parts"] > 1 else ""
        row[entry["mode"]] = f"{entry['seconds']:.3f} s{memory}{parts}"
    return list(rows.values())


def streams(figures: Mapping[str, Any]) -> list[Row]:
    """Frames per second, a row a system and a column a mode, and the printed ones."""
    rows: dict[str, Row] = {}
    for entry in figures["streams"]:
        rows.setdefault(entry["system"], {"system": entry["system"]})[entry["mode"]] = entry["fps"]
    return [row | {"paper, A100": published(name, "fps_a100")} for name, row in rows.items()]


def agreements(figures: Mapping[str, Any]) -> list[Row]:
    """How far each mode's logits are from float32's: the worst system of each mode."""
    worst: dict[str, Row] = {}
    for entry in figures["streams"]:
        row = {"mode": entry["mode"], "system": entry["system"], "largest difference (std of logits)": entry["max_difference"],
               "same class (%)": entry["same_class_percent"]}
        if entry["mode"] not in worst or row["same class (%)"] < worst[entry["mode"]]["same class (%)"]:
            worst[entry["mode"]] = row
    return list(worst.values())


def live(figures: Mapping[str, Any]) -> list[Row]:
    """Frame rates of SSP and Base in the streaming loop and their ratio, beside the printed one."""
    rates = {(entry["mode"], entry["overlapped"], entry["system"]): entry for entry in figures["live"]}
    rows = []
    for (mode, overlapped, name), ssp in rates.items():
        base = rates.get((mode, overlapped, "Base"))
        if name == "SSP" and base is not None:
            rows.append({
                "registration": f"{ssp['registration']}, {'overlapped' if overlapped else 'in turn'}", "mode": mode,
                "SSP (fps)": ssp["fps"], "Base (fps)": base["fps"], "SSP / Base": round(ssp["fps"] / base["fps"], 3),
                "registration (ms)": ssp["registration_ms"], "waited for it (ms)": ssp["waited_ms"],
            })
    printed = {name: published(name, "fps_a100") for name in ("SSP", "Base")}
    rows.append({
        "registration": "paper, A100", "mode": None, "SSP (fps)": printed["SSP"], "Base (fps)": printed["Base"],
        "SSP / Base": round(printed["SSP"] / printed["Base"], 3),
    })
    return rows


def missing(figures: Mapping[str, Any]) -> list[Row]:
    """Parts without all their rows, and why."""
    return [
        {"part": part["part"], "outcome": part["outcome"], "rows": part["rows"], "why": part["reason"]}
        for part in figures["parts"] if part["outcome"] != DONE
    ]


def text(figures: Mapping[str, Any]) -> str:
    """All tables as aligned text."""
    titled = {
        "Training steps": training(figures), "Frames per second, one stream": streams(figures),
        "Modes against float32, the worst system": agreements(figures),
        "SSP over Base in the streaming loop": live(figures) if figures["live"] else [],
        "Two processes": figures["ranks"], "Around the networks": figures["estimators"], "Left out or failed": missing(figures),
    }
    return "\n\n".join(f"{title}\n{text_table(rows)}" for title, rows in titled.items() if rows)
