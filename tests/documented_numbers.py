"""Every measured number that README.md and docs/*.md print, and the file that it is read from.

A number with a decimal point or a unit that stands in one of these documents must lie in one of the CLAIMS, else
test_documented_numbers.py fails. To add one: write the sentence as it is printed, with {} for each number, and where each
number comes from. STATED are facts of the paper, its reference code or a release that no run of ours can produce; README
has none of them.
"""

from __future__ import annotations

import inspect
import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sspcore.data.augment import WindowAugmentation
from sspcore.motion.geometry import occlusion_mask
from sspcore.motion.registration import RANSAC_PX, FeatureMatching
from sspcore.study.profiles import load_profile
from sspcore.study.published import published
from sspcore.training.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
README, METHOD, DEVIATIONS = "README.md", "docs/METHOD.md", "docs/deviations.md"
Number = Callable[[], float]


@dataclass(frozen=True)
class Claim:
    """A passage of a document.

    Attributes:
        document: relative to the repository.
        text: as printed, {} in the place of each number; any white space stands for a line break.
        values: where each {} is read from; the printed number is to be the value rounded to its digits.
        holds: what the words say, as a condition; None where the numbers say all.
        within: how far a printed number may lie from its value ("about"), in place of half of its last digit.
    """

    document: str
    text: str
    values: tuple[Number, ...] = ()
    holds: Callable[[], bool] | None = None
    within: float | None = None


@cache
def _changed() -> frozenset[str]:
    """Files of the documents and figures that differ from the commit; empty outside a repository."""
    command = ["git", "diff", "--name-only", "HEAD", "--", "README.md", "docs", "figures"]
    try:
        return frozenset(subprocess.check_output(command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL, timeout=20).split())
    except (OSError, subprocess.SubprocessError):
        return frozenset()


@cache
def figure(path: str) -> Any:
    """A results file. A run rewrites figures/, while the documents speak of the committed run: where a file is changed and
    no document is, the committed one counts."""
    documents = [name for name in _changed() if not name.startswith("figures/")]
    if path in _changed() and not documents:
        return json.loads(subprocess.check_output(["git", "show", f"HEAD:{path}"], cwd=ROOT, timeout=20))
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def row(dataset: str, system: str) -> dict[str, Any]:
    """The row of a system in the committed table."""
    rows = figure("figures/tables/results.json")["rows"]
    return next(one for one in rows if (one["dataset"], one["system"]) == (dataset, system))


def points(dataset: str, system: str, column: str, other: str | None = None) -> float:
    """A score in percent, or by how many points it lies above another system's."""
    return 100 * (row(dataset, system)[column] - (0 if other is None else row(dataset, other)[column]))


def above_control(dataset: str, system: str, image: str) -> float:
    """Points of mIoU above the constant-alpha curve of an image model, at the system's own TC."""
    rows = [one for one in figure("figures/tables/results.json")["rows"] if one["dataset"] == dataset]
    suffix = "" if image == "Base" else f" ({image})"
    names = [image, *(f"Constant alpha {alpha:g}{suffix}" for alpha in (0.3, 0.5, 0.7, 0.9))]
    curve = sorted((one["tc"], one["miou"]) for one in rows if one["system"] in names)
    at = row(dataset, system)
    return 100 * (at["miou"] - float(np.interp(at["tc"], *zip(*curve, strict=True))))


def best_student(system: str) -> bool:
    """Whether a system has the best mIoU of all trained systems but the teacher, on both data sets."""
    rows = [one for one in figure("figures/tables/results.json")["rows"] if one["kind"] != "control"]
    return all(
        row(one["dataset"], system)["miou"] >= one["miou"] for one in rows if one["system"] != "Teacher"
    )


def run_time(profile: str, n_systems: int) -> dict[str, Any]:
    """The timed run of a profile with so many systems."""
    entries = figure("figures/run_times.json")
    return next(one for one in entries if one["profile"] == profile and len(one["systems"]) == n_systems)


def over_seeds(dataset: str, system: str, column: str, other: str | None = None) -> float:
    """Mean over the training seeds, in percent: a score or "above_curve", or by how much it exceeds another system's."""
    rows = {one["system"]: one[column] for one in figure("figures/tables/seeds.json")["rows"] if one["dataset"] == dataset}
    return 100 * (rows[system]["mean"] - (0 if other is None else rows[other]["mean"]))


def _without_part(variant: dict[str, Any]) -> float:
    """mIoU of an ablation of SSP-R less that of SSP-R."""
    rows = figure("figures/tables/ablations_ssp-r.json")["rows"]
    return variant["miou"] - next(
        one["miou"] for one in rows if (one["dataset"], one["variant"]) == (variant["dataset"], "SSP-R"))


def cost(system: str, column: str) -> float:
    """Parameters (M) or multiply-adds (G) of a system in the paper's setting, as `sspcore.study.cost` counts them."""
    return next(one for one in figure("figures/complexity.json") if one["system"] == system)[column]


def printed(system: str, column: str) -> float:
    """A figure of the paper's table as printed."""
    return published(system, column)


def measured(dataset: str, *keys: str) -> float:
    """A figure of benchmarks/deviations.py."""
    value = figure("figures/deviations.json")[dataset]
    for key in keys:
        value = value[key]
    return value


@cache
def recipe(name: str, dataset: str = "uavid") -> Recipe:
    """Published training settings."""
    return load_profile("paper").recipe(name, dataset)


def default(function: Callable[..., Any], name: str) -> Any:
    """The default of a parameter."""
    return inspect.signature(function).parameters[name].default


def both(function: Callable[[str], float]) -> tuple[Number, Number]:
    """A value on UAVid and on RuralScapes."""
    return partial(function, "uavid"), partial(function, "ruralscapes")


def _readme() -> Iterable[Claim]:
    tc_gain = [lambda d=d: points(d, "KD-SSP", "tc", "Base") for d in ("uavid", "ruralscapes")]
    yield Claim(README, "about 7 GB of disk for the environment", holds=lambda: " need=7 " in (
        ROOT / "reproduce.sh").read_text())
    yield Claim(README, "4 GB of memory", holds=lambda: all(
        one.get("peak_mib", 0) < 4000 for one in figure("figures/run_times.json")))
    yield Claim(README, "all twelve systems: about {} minutes", (lambda: run_time("demo", 12)["minutes"],), within=5)
    yield Claim(README, "KD-SSP has the best mIoU of all students", holds=lambda: best_student("KD-SSP"))
    yield Claim(README, "and {} to {} points more TC than Base", tuple(tc_gain))
    yield Claim(
        README, "SSP and KD-SSP lie above the constant-alpha curve of their own image model, clearly on rendered UAVid, by "
        "about half a point of mIoU on rendered RuralScapes",
        holds=lambda: all(
            above_control("uavid", system, image) > 1 and 0.25 < above_control("ruralscapes", system, image) < 0.75
            for system, image in (("SSP", "Base"), ("KD-SSP", "KD Base"))
        ),
    )
    yield Claim(README, "on RuralScapes' moving classes KD-SSP stays below Base", holds=lambda: points(
        "ruralscapes", "KD-SSP", "miou_moving", "Base") < 0)
    yield Claim(
        README, "on UAVid DFF is more consistent still, {} points of mIoU below Base",
        (lambda: -points("uavid", "DFF", "miou", "Base"),),
        holds=lambda: points("uavid", "DFF", "tc", "KD-SSP") > 0,
    )
    yield Claim(README, "it lies {} (UAVid) and {} (RuralScapes) points of mIoU above", both(
        lambda dataset: over_seeds(dataset, "SSP-R", "above_curve")))
    yield Claim(README, "no part but the frozen image model moves mIoU by half a point", holds=lambda: all(
        abs(_without_part(one)) < 0.005 for one in figure("figures/tables/ablations_ssp-r.json")["rows"]
        if one["group"] == "part" and one["variant"] not in ("image model trained too", "four times lambda")))
    yield Claim(README, "no more than SSP does ({} and {};", both(lambda dataset: over_seeds(dataset, "SSP", "above_curve")))
    yield Claim(
        README,
        "Moving classes gain {} points over SSP on UAVid, where they stay {} below Base; on RuralScapes the gain of {} is",
        (lambda: over_seeds("uavid", "SSP-R", "miou_moving", "SSP"),
         lambda: -over_seeds("uavid", "SSP-R", "miou_moving", "Base"),
         lambda: over_seeds("ruralscapes", "SSP-R", "miou_moving", "SSP")),
        holds=lambda: all(
            len(one["seeds"]) == 3 for one in figure("figures/tables/seeds.json")["rows"] if one["system"] in ("SSP", "SSP-R")),
    )


def _method() -> Iterable[Claim]:
    raft, base, ssp = partial(_raft, "params_m"), partial(cost, "Base", "params_m"), partial(cost, "SSP", "params_m")
    yield Claim(METHOD, "+{} M parameters", (lambda: ssp() - base(),))
    yield Claim(METHOD, "RANSAC ({} px)", (lambda: RANSAC_PX,))
    yield Claim(METHOD, "ratio test {} and RANSAC {} px", (lambda: default(FeatureMatching, "ratio"), lambda: RANSAC_PX))
    yield Claim(METHOD, "lambda * L_tc,   lambda = {}", (lambda: recipe("video").lambda_tc,))
    yield Claim(
        METHOD, "> {} * ( ||W_{k->k-1}||^2 + ||W_{k-1->k}||^2 ) + {}",
        (lambda: default(occlusion_mask, "c1"), lambda: default(occlusion_mask, "c2")),
    )
    yield Claim(
        METHOD, "135000 / 736^2 = {}. This project uses the per-pixel mean and {}.",
        (lambda: 135000 / recipe("kd_video").crop[0] ** 2, lambda: recipe("kd_video").lambda_tc),
    )
    yield Claim(
        METHOD, "weight decay {}; cosine schedule, 2 warm-up epochs, start and final lr = {} of the base lr",
        (lambda: recipe("image").weight_decay, lambda: recipe("image").final_lr_ratio),
    )
    yield Claim(METHOD, "lr {} for image models, {} for video models", (
        lambda: recipe("image").lr, lambda: recipe("video").lr))
    zoom = default(WindowAugmentation, "zoom")
    yield Claim(METHOD, "scale in {{} ... {}} then crop, p {}", (
        lambda: zoom[0], lambda: zoom[1], lambda: default(WindowAugmentation, "zoom_probability")))
    for line, systems in (
        ("| Teacher | Hiera-B+, UPerNet 512 | {} M |", ("Teacher",)),
        ("MLP decoder 768 | {}, {} M |", ("SegFormer-b2", "SegFormer-b3")),
        ("FCN auxiliary head 256 (training only) | {} M |", ("ConvNeXt-S + UPerNet",)),
        ("| Base, KD Base | Hiera-S, UPerNet 256 | {} M |", ("Base",)),
        ("then the classifier | {} M |", ("DFF",)), ("(past 0, present 1 at start) | {} M |", ("NetWarp",)),
        ("then the decoder | {}, {} M |", ("TCB_ppm", "TCB_ocr")), ("section 2 on the base model | {} M |", ("SSP",)),
    ):
        yield Claim(METHOD, line, tuple(partial(printed, name, "params_m") for name in systems))
    b2 = "SegFormer-b2"
    yield Claim(METHOD, "{} with 8 classes, {} with 12", (partial(cost, b2, "own_params_m"), partial(cost, b2, "params_m")))
    yield Claim(METHOD, "{} without the auxiliary head", (partial(cost, "ConvNeXt-S + UPerNet", "own_params_m"),))
    yield Claim(METHOD, "base + RAFT {} M |", (raft,))
    yield Claim(METHOD, "base + RAFT + {} M |", (lambda: cost("NetWarp", "params_m") - cost("DFF", "params_m"),))
    yield Claim(METHOD, "these include RAFT's {} M, which TCB never runs: {} and {} without", (
        raft, lambda: printed("TCB_ppm", "params_m") - raft(), lambda: printed("TCB_ocr", "params_m") - raft()))
    for text, names in (
        ("decoder_channels=256)` {} M", ("Base",)), ('base_plus", decoder_channels=512)` {} M', ("Teacher",)),
        ("decoder_segmentation_channels=768)` {} / {} M", (b2, "SegFormer-b3")),
        ('convnext_small", decoder_channels=512)` {} M', ("ConvNeXt-S + UPerNet",)),
    ):
        yield Claim(METHOD, text, tuple(partial(cost, name, "own_params_m") for name in names))
    yield Claim(METHOD, "`raft_large` {} M", (raft,))
    pairs = (("base", "Base", " {} (table {})"), ("SSP", "SSP", " {} ({})"), (b2, b2, " {} ({})"),
             ("b3", "SegFormer-b3", " {} ({})"), ("ConvNeXt", "ConvNeXt-S + UPerNet", " {} ({})"))
    yield Claim(METHOD, ", ".join(label + form for label, _, form in pairs), tuple(
        partial(read, name, column) for _, name, _ in pairs for read, column in ((cost, "gmacs"), (printed, "gflops"))))
    yield Claim(METHOD, "the base is {} and SegFormer-b2 {}", (
        partial(cost, "Base", "gmacs_with_attention"), partial(cost, b2, "gmacs_with_attention")))
    for column, read, text in (
        ("gmacs", cost, "gives {} and {}"), ("gflops", printed, "(table {} and {}"), ("own_gmacs", cost, "needs {} and {}"),
    ):
        yield Claim(METHOD, text, (partial(read, "TCB_ppm", column), partial(read, "TCB_ocr", column)))
    yield Claim(METHOD, "DFF's {} and NetWarp's {}", (partial(printed, "DFF", "gflops"), partial(printed, "NetWarp", "gflops")))
    flow_based = tuple(partial(cost, name, "gmacs") for name in ("DFF", "NetWarp"))
    yield Claim(METHOD, "with it DFF needs {} and NetWarp {}", flow_based)


def _raft(column: str) -> float:
    return cost("DFF", column) - cost("Base", column)


def _swapped(dataset: str) -> int:
    """Pairs of trained systems that TC and its reference's form order otherwise."""
    rows = [one for one in figure("figures/tables/results.json")["rows"]
            if one["dataset"] == dataset and one["kind"] != "control"]
    return sum((a["tc"] - b["tc"]) * (a["tc_reference"] - b["tc_reference"]) < 0 for a, b in combinations(rows, 2))


def _contrast(dataset: str, norm: str) -> float:
    """How much more O weighs visible than hidden pixels."""
    return measured(dataset, "soft_occlusion", f"{norm}_visible") - measured(dataset, "soft_occlusion", f"{norm}_hidden")


def _deviations() -> Iterable[Claim]:
    def scored(*keys: str, scale: float = 100) -> tuple[Number, Number]:
        return both(lambda dataset: scale * measured(dataset, *keys))

    def table(*columns: tuple[Number, Number]) -> tuple[Number, ...]:
        return tuple(column[i] for i in range(2) for column in columns)

    for reading in ("followed", "same-pixel"):
        values = (scored("occlusion", reading, measure, scale=1) for measure in ("precision", "recall"))
        yield Claim(DEVIATIONS, reading + ": precision {} and recall {} on UAVid, {} and {} on RuralScapes", table(*values))
    for name in ("unfused", "followed", "same-pixel"):
        values = (scored("fusion", name, measure) for measure in ("miou", "tc"))
        yield Claim(DEVIATIONS, f"| {name} | {{}} | {{}} | {{}} | {{}} |", table(*values))
    yield Claim(
        DEVIATIONS, "error of the warp rises from {} to {} grey levels on UAVid, from {} to {} on RuralScapes",
        table(scored("flow_warp", "one_convention", scale=1), scored("flow_warp", "two_conventions", scale=1)),
    )
    yield Claim(DEVIATIONS, "moves by {} px on UAVid, {} px on RuralScapes", scored("stride4", "mean_px", scale=1))
    for name in ("visible", "hidden"):
        values = (scored("soft_occlusion", f"{norm}_{name}", scale=1) for norm in ("l1", "sum"))
        yield Claim(DEVIATIONS, f"| {name} pixels | {{}} | {{}} | {{}} | {{}} |", table(*values))
    yield Claim(DEVIATIONS, "{} % of the pixels on UAVid, {} % on RuralScapes", scored("no_past", "share"))
    for name in ("lk", "sift", "akaze", "orb", "identity"):
        yield Claim(DEVIATIONS, f"| `{name}` | {{}} | {{}} |", scored("registration", name, "mean_px", scale=1))
    for system in ("Base", "SSP", "KD-SSP"):
        values = (both(lambda d, s=system, c=c: points(d, s, c)) for c in ("tc", "tc_reference", "tc_exact_flow"))
        yield Claim(DEVIATIONS, f"| {system} | {{}} | {{}} | {{}} | {{}} | {{}} | {{}} |", table(*values))
    yield Claim(DEVIATIONS, "end-point error {} px on UAVid, {} px on RuralScapes", both(
        lambda dataset: figure("figures/tables/results.json")["provenance"]["metric_flow_epe_px"][dataset]))
    gaps = [100 * (one["tc"] - one["tc_reference"]) for one in figure("figures/tables/results.json")["rows"]]
    yield Claim(DEVIATIONS, "lower by {} to {} points for every system", (lambda: min(gaps), lambda: max(gaps)))
    yield Claim(DEVIATIONS, "leaves the order of the trained ones as it is but for one pair on RuralScapes", holds=lambda: (
        _swapped("uavid"), _swapped("ruralscapes")) == (0, 1))
    yield Claim(DEVIATIONS, "the L1 norm tells them apart slightly better", holds=lambda: all(
        0 < _contrast(dataset, "l1") - _contrast(dataset, "sum") < 0.02 for dataset in ("uavid", "ruralscapes")))
    demo = load_profile("demo").training
    lambdas = tuple(lambda name=name: recipe(name).lambda_tc for name in ("video", "kd_video"))
    yield Claim(DEVIATIONS, "lambda_kd = {} (135000 / 736^2, rounded)", lambdas[1:])
    yield Claim(DEVIATIONS, "| lambda | {} and {} | the same |", lambdas, holds=lambda: all(
        demo[name].lambda_tc == recipe(name).lambda_tc for name in ("video", "kd_video")))
    yield Claim(DEVIATIONS, "| {{} ... {}} | {{} ... {}} |", (
        *(lambda i=i: recipe("video").zoom[i] for i in range(2)), *(lambda i=i: demo["video"].zoom[i] for i in range(2))))
    yield Claim(DEVIATIONS, "| as the rest | three times |", holds=lambda: demo["video"].head_lr_factor == 3)


CLAIMS: tuple[Claim, ...] = (*_readme(), *_method(), *_deviations())

STATED: tuple[tuple[str, str], ...] = (
    (METHOD, "1 in 50 at 10 fps after sub-sampling"),
    (METHOD, "x_s = (x + 0.5)/s - 0.5."),
    (DEVIATIONS, "x_s = (x + 0.5)/s - 0.5,"),
    (METHOD, "horizontal flip 0.5;"),
    (METHOD, "colour jitter 0.3."),
    (METHOD, "shift-scale-rotate (p 0.2); brightness/contrast, hue, gamma or CLAHE (p 0.8);\nnoise, JPEG or sharpen (p 0.6)."),
)

# What looks like a measured number and is none: versions, identifiers of papers, sections.
STRUCTURAL = (r"Python \d\.\d+", r"arXiv:? ?\d{4}\.\d{5}", r"Apache-2\.0", r"sections? \d\.\d", r"release v\d\.\d")
