"""The tables within README.md and docs/*.md, written from the files under figures/: `python docs/blocks.py`.

A document holds `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is the table NAME of this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from sspcore.core.files import atomic_file, read_json
from sspcore.report.results import SCORES
from sspcore.report.seeds import document, summary
from sspcore.report.spread import STD, seed_rows
from sspcore.report.tables import NONE, markdown, percent, points, text
from sspcore.study.published import published

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "docs/METHOD.md", "docs/deviations.md", "docs/real_footage.md")
BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
TITLES = {"uavid": "UAVid", "ruralscapes": "RuralScapes"}
README_SYSTEMS = ("Base", "DFF", "SSP", "KD Base", "KD-SSP")

read = cache(lambda name: read_json(ROOT / "figures" / name))


def rows_of(dataset: str) -> dict[str, dict[str, Any]]:
    """System -> its row of the committed results."""
    return {row["system"]: row for row in read("tables/results.json")["rows"] if row["dataset"] == dataset}


def score(dataset: str, name: str, column: str) -> str:
    """A score of a system in the committed results, as a cell."""
    row = rows_of(dataset)[name]
    return percent(row[column], row.get(column + STD))


def curve_distance(dataset: str, name: str) -> tuple[float | None, float | None]:
    """mIoU above the constant-alpha curve of a system's own image model, at equal TC; None for image models.

    Returns: mean over the training seeds, and its standard deviation (None for one seed).
    """
    rows = [{"seed": 0} | row for row in seed_rows(read("tables/results.json")) if row["dataset"] == dataset]
    found = {entry["system"]: entry["above_curve"] for entry in summary(rows)}[name]
    return (None, None) if found is None else (found["mean"], found["std"])


def results() -> pd.DataFrame:
    """The systems that README speaks of."""
    columns: dict[str, list[str]] = {"System": list(README_SYSTEMS)}
    for dataset, title in TITLES.items():
        columns |= {
            f"{title}: {SCORES[column]}": [score(dataset, name, column) for name in README_SYSTEMS]
            for column in ("miou", "tc", "miou_moving")
        }
        columns[f"{title}: above the curve"] = [points(*curve_distance(dataset, name)) for name in README_SYSTEMS]
    return pd.DataFrame(columns)


def seeds() -> pd.DataFrame:
    """SSP and SSP-R over training seeds."""
    tables = []
    for heading, frame in document(read("tables/seeds.json")).tables.items():
        chosen = frame[frame["System"].isin(["Base", "SSP", "SSP-R"])]
        chosen = chosen.drop(columns=["Encoder start", "TC, exact flow", "Seeds"])
        chosen.insert(0, "Data set", heading.split(" (")[0])
        tables.append(chosen)
    return pd.concat(tables)


def costs() -> pd.DataFrame:
    """Parameters and multiply-adds of the paper's systems, printed and counted by us."""
    entries = read("complexity.json")
    columns = {
        "params (M), printed": ("published_params_m", ".2f"), "params, counted as printed": ("params_m", ".2f"),
        "params of our network": ("own_params_m", ".2f"), "multiply-adds (G), printed": ("published_gflops", ".1f"),
        "counted as printed": ("gmacs", ".1f"), "with attention": ("gmacs_with_attention", ".1f"),
        "of our stream": ("own_gmacs", ".1f"),
    }
    return pd.DataFrame({"System": [entry["system"] for entry in entries]} | {
        title: [text(entry[key], form) for entry in entries] for title, (key, form) in columns.items()
    })


def measured(lines: Iterable[tuple[str, Callable[[dict[str, Any]], float], str]]) -> pd.DataFrame:
    """Rows (what, where it stands in deviations.json of a data set, format), a column a data set."""
    return pd.DataFrame([
        [title, *(format(value(read("deviations.json")[dataset]), form) for dataset in TITLES)] for title, value, form in lines
    ], columns=["", *TITLES.values()])


def geometry() -> pd.DataFrame:
    """Half pixel, past outside the view, flow warp."""
    frame = measured([
        ("A. shift of a place of the stride-4 grid (px)", lambda found: found["stride4"]["mean_px"], ".3f"),
        ("B. pixels without a past (%)", lambda found: 100 * found["no_past"]["share"], ".2f"),
        ("C. error of the warp, one convention (grey levels)", lambda found: found["flow_warp"]["one_convention"], ".2f"),
        ("C. error of the warp, two conventions", lambda found: found["flow_warp"]["two_conventions"], ".2f"),
    ])
    epe = read("tables/results.json")["provenance"]["metric_flow_epe_px"]
    frame.loc[len(frame)] = ["end-point error of the demo's flow, DIS (px)", *(f"{epe[name]:.2f}" for name in TITLES)]
    return frame


def soft_occlusion() -> pd.DataFrame:
    """Mean weight O on visible and hidden pixels."""
    return measured([
        (f"{norm}, {place} pixels", lambda found, key=f"{key}_{place}": found["soft_occlusion"][key], ".2f")
        for norm, key in (("L1 norm", "l1"), ("absolute sum", "sum")) for place in ("visible", "hidden")
    ])


def occlusion() -> pd.DataFrame:
    """Both readings of M_occ, and what fusion under them does to teacher labels."""
    masks = [
        (f"M_occ, {name}: {score}", lambda found, name=name, score=score: found["occlusion"][name][score], ".2f")
        for name in ("followed", "same-pixel") for score in ("precision", "recall")
    ]
    labels = [
        (f"labels, {name}: {title} (%)", lambda found, name=name, key=key: 100 * found["fusion"][name][key], ".2f")
        for name in ("unfused", "followed", "same-pixel") for key, title in (("miou", "mIoU"), ("tc", "TC"))
    ]
    return measured([*masks, *labels])


def consistency() -> pd.DataFrame:
    """TC as corrected, as the reference computes it, and under exact flow."""
    columns: dict[str, list[str]] = {"System": ["Base", "SSP", "KD-SSP"]}
    for dataset, title in TITLES.items():
        for column, name in (("tc", "TC"), ("tc_reference", "reference's"), ("tc_exact_flow", "exact flow")):
            columns[f"{title}: {name}"] = [score(dataset, system, column) for system in columns["System"]]
    return pd.DataFrame(columns)


def registration() -> pd.DataFrame:
    """Error and time of each estimator on the demo's rendered clips."""
    found = {dataset: read("registration.json")["clips"][f"demo/{dataset}"] for dataset in TITLES}
    rows = []
    for matcher in ("identity", *MATCHERS):
        row = {"": f"`{matcher}`"}
        for dataset, title in TITLES.items():
            result = found[dataset][matcher]
            row |= {
                f"{title}: px": format(result["exact_px"], ".2f"),
                f"{title}: failed": f"{result['failed']} of {result['pairs']}",
                f"{title}: ms": format(result["ms"], ".1f"),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def hardware() -> pd.DataFrame:
    """Training steps and frame rates of the GPUs that were measured, beside the printed rates of an A100."""
    return machines([read_json(path) for path in sorted((ROOT / "figures" / "hardware").glob("*.json"))])


def machines(figures: list[dict[str, Any]]) -> pd.DataFrame:
    """`hardware` of the content of files."""
    if not figures:
        return pd.DataFrame({"GPU": ["none measured yet: `./reproduce.sh hardware` on a machine with one"]})
    rows = []
    for machine in figures:
        steps = {(row["system"], row["mode"]): row for row in machine["training"]}
        rates = {(row["system"], row["mode"]): row["fps"] for row in machine["streams"]}
        for name in dict.fromkeys(name for name, _ in (*steps, *rates)):
            seconds = {mode: steps.get((name, mode), {}).get("seconds") for mode in ("float32", "tf32", "bfloat16")}
            memory = steps.get((name, "bfloat16"), {}).get("memory_gib")
            rows.append({
                "GPU": machine["provenance"].get("gpu", "CPU"), "System": name,
                "training step, s: float32 / TF32 / bfloat16": slashed(seconds.values(), ".3f"),
                "GiB, bfloat16": text(memory, ".1f"),
                "frames/s: float32 / TF32 / float16": slashed(
                    (rates.get((name, mode)) for mode in ("float32", "tf32", "float16")), ".1f"
                ),
                "paper, A100": text(published(name, "fps_a100"), ".0f"),
            })
    return pd.DataFrame(rows)


def slashed(values: Iterable[float | None], form: str) -> str:
    """Numbers in one cell."""
    return " / ".join(text(value, form) for value in values)


MATCHERS = ("lk", "sift", "akaze", "orb", "lightglue")


def registration_clips() -> pd.DataFrame:
    """What each matcher leaves of the grey-level difference between neighbouring frames, a row a clip."""
    rows = []
    for name, found in read("registration.json")["clips"].items():
        matchers = [matcher for matcher in MATCHERS if matcher in found]
        pairs = found["lk"]["pairs"]
        row = {"clip": name, "size": "x".join(map(str, found["size"])), "pairs": str(pairs)}
        for matcher in ("identity", *matchers):
            result = found[matcher]
            notes = [f"{result['exact_px']:.2f} px"] if "exact_px" in result else []
            notes += [f"{result['failed']} failed"] if result["failed"] else []
            notes += [f"{result['pairs']} pairs"] if result["pairs"] != pairs else []
            row[matcher] = format(result["residual"], ".2f") + (f" ({', '.join(notes)})" if notes else "")
        rows.append(row | {"worse than the identity": str(sum(found[matcher]["worse"] for matcher in matchers))})
    frame = pd.DataFrame(rows)
    return frame[[*(column for column in frame if "worse" not in column), "worse than the identity"]]


def gate() -> pd.DataFrame:
    """SSP with its past by the gate of arXiv 2606.09162, and by flow everywhere."""
    return pd.DataFrame([
        {
            "data set": TITLES[row["dataset"]], "system": row["variant"],
            **{SCORES[column]: percent(row[column]) for column in ("miou", "miou_moving", "tc")},
            "TC, exact flow": percent(row["tc_exact_flow"]),
        }
        for row in read("gate.json")["rows"]
    ])


def conventions() -> pd.DataFrame:
    """What each of the reference's readings changes on the packaged sample."""
    found = read("conventions.json")
    rows = [
        {
            "reading": name, "in": part, "mIoU (%)": percent(scores["miou"]), "TC (%)": percent(scores["tc"]),
            "labels changed (%)": format(100 * scores["labels_changed"], ".2f") if "labels_changed" in scores else NONE,
        }
        for part, key in (("SSP's step", "step"), ("fused labels", "fusion")) for name, scores in found[key].items()
    ]
    rows += [
        {"reading": name, "in": "L_tc", "L_tc (%)": format(100 * change, "+.1f")} for name, change in found["loss"].items()
    ]
    rows += [
        {"reading": name, "in": "metrics", **{f"{key.upper()} (%)": percent(value) for key, value in scores.items()}}
        for name, scores in found["metrics"].items()
    ]
    return pd.DataFrame(rows)


def clips() -> pd.DataFrame:
    """Our clips beside those of the reference's tools."""
    rows = []
    for case, title in (("small", "small"), ("published", "published size")):
        for dataset, found in read("reference_clips.json")[case].items():
            inputs = found["network_input"]
            rows.append({
                "release": f"{TITLES[dataset]}, {title}", "clips": found["clips"],
                "in one only": len(found["clips_only_ours"]) + len(found["clips_only_theirs"]),
                "frames": found["frames"], "labels": found["labels"],
                "label pixels that differ": f"{found['label_pixels_that_differ']} of {found['label_pixels']:,}",
                "stored frames differ by (grey levels)": format(found["stored_frames_grey_levels"]["largest"], "g"),
                "network's input by, at most": format(max(each["frames_grey_levels"]["largest"] for each in inputs), ".0e"),
            })
    return pd.DataFrame(rows)


def real_accuracy() -> pd.DataFrame:
    """mIoU of each system on real stills, and the IoU of each class."""
    found = read("real_footage.json")
    classes = list(found["rows"][0]["per_class_iou"])
    rows = []
    for name, entry in found["summary"].items():
        ours = [row["per_class_iou"] for row in found["rows"] if row["system"] == name]
        per_class = {each: format(100 * sum(row[each] for row in ours) / len(ours), ".1f") for each in classes}
        rows.append({"System": name, "mIoU": percent(entry["miou"]["mean"], entry["miou"]["std"]), **per_class})
    return pd.DataFrame(rows)


def real_consistency(key: str) -> pd.DataFrame:
    """TC, flicker or changed pixels of each system on each real clip."""
    return pd.DataFrame([
        {"System": name, **{
            clip: percent(scores[key]["mean"], scores[key]["std"]) for clip, scores in entry["clips"].items()
        }}
        for name, entry in read("real_footage.json")["summary"].items()
    ])


BLOCKS = {
    "results": results, "seeds": seeds, "costs": costs, "geometry": geometry, "soft-occlusion": soft_occlusion,
    "occlusion": occlusion, "consistency": consistency, "registration": registration, "hardware": hardware,
    "conventions": conventions, "clips": clips, "registration-clips": registration_clips, "gate": gate,
    "real-accuracy": real_accuracy, "real-tc": lambda: real_consistency("tc"),
    "real-flicker": lambda: real_consistency("flicker"), "real-changed": lambda: real_consistency("changed"),
}


def written(document_text: str) -> str:
    """A document with its blocks as the files under figures/ have it."""
    def block(found: re.Match[str]) -> str:
        frame = BLOCKS[found[2]]()
        return found[1] + markdown(frame.set_axis([""] * len(frame)).fillna(NONE)) + found[3]

    return BLOCK.sub(block, document_text)


if __name__ == "__main__":
    for name in DOCUMENTS:
        with atomic_file(ROOT / name) as temporary:
            temporary.write_text(written((ROOT / name).read_text(encoding="utf-8")), encoding="utf-8")
