"""Tables of `blocks.py` from files that benchmarks have written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from sspcore.core.files import read_json
from sspcore.models.controls import AVERAGING
from sspcore.report.results import SCORES
from sspcore.report.tables import NONE, percent, points, text
from sspcore.study.published import published

ROOT = Path(__file__).resolve().parents[1]
TITLES = {"uavid": "UAVid", "ruralscapes": "RuralScapes"}
MATCHERS = ("lk", "sift", "akaze", "orb", "lightglue")
GATED = ("Base", "Constant alpha 0.5", "SSP", "gate", "gate at inference", "flow at inference")

read = cache(lambda name: read_json(ROOT / "figures" / name))


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


def written_of(file: str, command: str, table: Callable[[dict[str, Any]], pd.DataFrame]) -> Callable[[], pd.DataFrame]:
    """A table of a file of figures/, or a line that says which command makes it."""
    def block() -> pd.DataFrame:
        if not (ROOT / "figures" / file).is_file():
            return pd.DataFrame({"": [f"none measured yet: `{command}`"]})
        return table(read(file))

    return block


def fold_rows(found: dict[str, Any]) -> pd.DataFrame:
    """Settings compared on folds of the training sequences: means, and on how many folds a variant is the better one.

    Constant alphas, which the height above the curve needs, are left out.
    """
    rows = []
    for name, content in found.items():
        compared = {row["dataset"]: row for row in content["summary"] if row["variant"] == content["compared_with"]}
        rows += [
            {
                "set": name, "data set": TITLES[row["dataset"]], "variant": row["variant"],
                **{
                    SCORES[column]: _fold_cell(row, compared[row["dataset"]], column)
                    for column in ("miou", "miou_moving", "tc")
                },
                "above the curve": points(row["above_curve"]),
            }
            for row in content["summary"] if not row["variant"].startswith(AVERAGING)
        ]
    return pd.DataFrame(rows)


def _fold_cell(row: dict[str, Any], compared: dict[str, Any], column: str) -> str:
    """A score, the difference to what it is compared with, and of several folds on how many it is the better one."""
    if row is compared or None in (row[column], compared[column]):
        return percent(row[column])
    folds = f", {row[f'{column}_better']} of {row['folds']}" if row["folds"] > 1 else ""
    return f"{percent(row[column])} ({points(row[column] - compared[column])}{folds})"


def fold_label_rows(found: dict[str, Any]) -> pd.DataFrame:
    """The teacher's labels that students learn from, on training frames without a label: means over folds."""
    rows = [row for content in found.values() for row in content["labels"]]
    table = pd.DataFrame(rows, columns=["dataset", "labels", "miou", "miou_moving"])
    means = table.groupby(["dataset", "labels"], sort=False).mean().reset_index()
    return pd.DataFrame({
        "data set": means["dataset"].map(TITLES), "labels": means["labels"],
        **{SCORES[column]: means[column].map(percent) for column in ("miou", "miou_moving")},
    })


def gate() -> pd.DataFrame:
    """SSP with its past by the gate of arXiv 2606.09162, and by flow everywhere."""
    return pd.DataFrame([
        {
            "data set": TITLES[row["dataset"]], "system": row["variant"],
            **{SCORES[column]: percent(row[column]) for column in ("miou", "miou_moving", "tc")},
            "TC, exact flow": percent(row["tc_exact_flow"]),
        }
        for row in read("tables/ablations.json")["rows"] if row["variant"] in GATED
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
    """mIoU of each system on real stills, and the IoU of each class. Without a past, a control scores as its image model."""
    found = read("real_footage.json")
    classes = list(found["rows"][0]["per_class_iou"])
    rows = []
    for name, entry in found["summary"].items():
        if name.startswith("Constant alpha"):
            continue
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


def compiled() -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Each step that NVIDIA's compiler has read: the columns that name it, and what was found."""
    rows = []
    for name, found in read("export.json")["compile"]["figures"]["engines"].items():
        system, profile, precision = name.split(", ")
        size = "{}x{}".format(*found["size"])
        rows.append(({"System": system, "network": f"{profile}, {size}", "types": precision}, found))
    return rows


def steps() -> pd.DataFrame:
    """Steps as NVIDIA's compiler reads them."""
    return pd.DataFrame([
        columns | {
            "ONNX nodes": found["nodes"], "layers as parsed": found["layers"],
            "step.onnx, MB": format(found["onnx_bytes"] / 1e6, ".0f"),
        }
        for columns, found in compiled()
    ])


def engines() -> pd.DataFrame:
    """The engines that NVIDIA's compiler builds of them, by the kind of GPU: MB / seconds."""
    rows = []
    for columns, found in compiled():
        built = found["engines"]
        rows.append(columns | {
            gpu: f"{built[gpu]['bytes'] / 1e6:.0f} / {built[gpu]['seconds']:.1f}" if gpu in built else "refused"
            for gpu in ("sm75", "sm80", "sm86", "sm89", "sm120")
        })
    return pd.DataFrame(rows)


def half_precision() -> pd.DataFrame:
    """Pixels whose class is the same in float16 and float32, over a rollout of a turning camera."""
    return pd.DataFrame([
        {
            "weights": name.split(", ")[1], "camera above": what, "frames": scores["frames"],
            "same class, mean": f"{100 * scores['identical_mean']:.3f} %",
            "in the worst frame": f"{100 * scores['identical_min']:.2f} %",
        }
        for name, rollouts in read("export.json")["compile"]["figures"]["agreement"].items()
        for what, scores in rollouts.items()
    ])


def runtimes() -> pd.DataFrame:
    """Milliseconds a frame of one step by each runtime, in turn on one CPU."""
    rows = []
    for step, found in read("export.json")["providers"]["figures"].items():
        if step == "installed":
            continue
        for name, scores in found["runtimes"].items():
            rows.append({
                "step": step, "runtime": name, "ms a frame": format(scores["ms_a_frame"], ".0f"),
                "torch's time over it": format(scores["torch_over_it"], ".2f"),
                "onnxruntime's over it": format(scores["onnxruntime_over_it"], ".2f"),
                "same class as torch": f"{100 * scores['identical_mean']:.3f} %",
            })
    return pd.DataFrame(rows)


def camera() -> pd.DataFrame:
    """`run_camera.py` beside `sspcore stream`."""
    figures, times = read("export.json")["camera"]["figures"], ("latency", "network", "registration")
    return pd.DataFrame([
        {
            "program": name, "frames a second": format(figures[name]["fps"], ".1f"),
            **{f"{time}, ms": format(figures[name][f"{time}_ms"], ".1f") for time in times},
        }
        for name in ("sspcore stream", "run_camera.py")
    ])


BLOCKS = {
    "registration": registration, "hardware": hardware, "conventions": conventions, "clips": clips,
    "registration-clips": registration_clips, "gate": gate,
    "folds": written_of("folds.json", "python benchmarks/folds.py", fold_rows),
    "fold-labels": written_of("folds.json", "python benchmarks/folds.py", fold_label_rows),
    "real-accuracy": real_accuracy, "real-tc": lambda: real_consistency("tc"),
    "real-flicker": lambda: real_consistency("flicker"), "real-changed": lambda: real_consistency("changed"),
    "steps": steps, "engines": engines, "half-precision": half_precision, "runtimes": runtimes, "camera": camera,
}
