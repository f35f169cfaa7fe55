"""Tables of docs/claims.md: what the paper claims, what came out here, and the word that the interval bears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from blocks_of_benchmarks import MATCHERS, ROOT, TITLES, read

from sspcore.report.paired import BETTER, CURVE, DRAWS, LEVEL, UNDECIDED, WORSE, cell, comparison, verdict
from sspcore.report.scores import SCORES
from sspcore.report.spread import seeds_text
from sspcore.report.tables import NONE, points
from sspcore.study.published import published

MARGIN = 0.005  # what "kept" allows for
UNKNOWN, UNTESTED, MISSING = "no interval", "not tested", "not in this run"
Found = Mapping[str, float | None]


@dataclass(frozen=True)
class Claim:
    """One system against another in one score.

    Attributes:
        text: the claim. new, old: systems. score: key of a row.
        kept: it asks for no loss, not for a gain.
        table: the file of tables/ that holds it.
    """

    text: str
    new: str
    old: str
    score: str
    kept: bool = False
    table: str = "results"

    def found(self, dataset: str) -> Found | None:
        """The difference with its interval, of results that hold no intervals the difference alone; None without rows."""
        results = read(f"tables/{self.table}.json")
        row = comparison(results.get("differences", []), dataset, self.new, self.old)
        if row is not None:
            return row.get(self.score)
        if self.old == CURVE:
            return _alone(next((
                row["above_curve"]["mean"] for row in results["rows"]
                if (row["dataset"], row["system"]) == (dataset, self.new) and row.get("above_curve")
            ), None))
        values = {row["system"]: _value(row[self.score]) for row in results["rows"] if row["dataset"] == dataset}
        new, old = values.get(self.new), values.get(self.old)
        return _alone(None if None in (new, old) else new - old)

    def judged(self, dataset: str) -> str:
        """Whether it came out on a data set."""
        return judged(self.found(dataset), self.kept)


def _alone(difference: float | None) -> Found | None:
    """A difference without an interval."""
    return None if difference is None else {"difference": difference, "low": None, "high": None}


def _value(score: Any) -> float | None:
    return score["mean"] if isinstance(score, dict) else score


def judged(found: Found | None, kept: bool = False) -> str:
    """Whether a claim came out: "yes", "no", or what stands against a word.

    A gain came out where its interval lies above 0, and did not where it lies below. "Kept" came out where the interval lies
    above a loss of MARGIN, and did not where all of it is a loss.
    """
    if found is None or found["difference"] is None:
        return MISSING
    if found["low"] is None:
        return UNKNOWN
    if kept and found["low"] > -MARGIN:
        return "yes"
    return {BETTER: "yes", WORSE: "no"}.get(verdict(found), UNDECIDED)


PAPER = (
    Claim("SSP is more consistent than its image model", "SSP", "Base", "tc"),
    Claim("SSP costs no accuracy", "SSP", "Base", "miou", kept=True),
    Claim("Distillation makes the image model more accurate", "KD Base", "Base", "miou"),
    Claim("Distillation makes the image model more consistent", "KD Base", "Base", "tc"),
    Claim("KD-SSP is more accurate than KD Base", "KD-SSP", "KD Base", "miou"),
    Claim("KD-SSP is more consistent than KD Base", "KD-SSP", "KD Base", "tc"),
    Claim("KD-SSP is more accurate than SSP", "KD-SSP", "SSP", "miou"),
    Claim("KD-SSP is more consistent than its teacher", "KD-SSP", "Teacher", "tc"),
    *(
        Claim(f"SSP is {what} than {rival}", "SSP", rival, score)
        for rival in ("DFF", "NetWarp", "TCB_ppm", "TCB_ocr")
        for what, score in (("more accurate", "miou"), ("more consistent", "tc"))
    ),
)
OURS = (
    Claim("KD-SSP is as accurate as its teacher", "KD-SSP", "Teacher", "miou", kept=True),
    Claim("SSP keeps its accuracy on what moves", "SSP", "Base", "miou_moving", kept=True),
    Claim("KD-SSP keeps that of KD Base on what moves", "KD-SSP", "KD Base", "miou_moving", kept=True),
    Claim("KD Base keeps that of Base on what moves", "KD Base", "Base", "miou_moving", kept=True),
    Claim("SSP is above the constant-alpha curve", "SSP", CURVE, "miou"),
    Claim("KD-SSP is above the constant-alpha curve of KD Base", "KD-SSP", CURVE, "miou"),
    Claim("SSP-R is more accurate than SSP", "SSP-R", "SSP", "miou", table="seeds"),
    Claim("SSP-R is better than SSP on what moves", "SSP-R", "SSP", "miou_moving", table="seeds"),
    Claim("SSP-R is above the constant-alpha curve", "SSP-R", CURVE, "miou", table="seeds"),
)


def came_out(words: Sequence[str]) -> str:
    """One word for all data sets, or one for each."""
    if len(set(words)) == 1:
        return words[0]
    return "; ".join(f"{title}: {word}" for title, word in zip(TITLES.values(), words, strict=True))


def link(path: str, text: str = "") -> str:
    """A file below figures/, as docs/ links to it."""
    return f"[{text or path.rsplit('/', 1)[-1]}](../figures/{path})"


def table_of(claims: Sequence[Claim], paper: bool) -> pd.DataFrame:
    """A line a claim; beside ours the difference of the printed figures."""
    lines = []
    for claim in claims:
        printed = {title: printed_difference(claim, dataset) for dataset, title in TITLES.items()} if paper else {}
        picture = "frontier_moving" if claim.score == "miou_moving" else "frontier"
        lines.append({
            "Claim": claim.text, "Score": SCORES[claim.score],
            **{f"{title}: paper": points(value) for title, value in printed.items()},
            **{f"{title}: here": cell(claim.found(dataset)) for dataset, title in TITLES.items()},
            "Came out here?": came_out([claim.judged(dataset) for dataset in TITLES]),
            "Figure": ", ".join([
                link(f"tables/{claim.table}.md"),
                *(link(f"{dataset}_{picture}{'_seeds' if claim.table == 'seeds' else ''}.png", title)
                  for dataset, title in TITLES.items()),
            ]),
        })
    return pd.DataFrame(lines)


def printed_difference(claim: Claim, dataset: str) -> float | None:
    """New minus old in the published table."""
    values = [published(name, f"{dataset}_{claim.score}") for name in (claim.new, claim.old)]
    return None if None in values else values[0] - values[1]


def best_student() -> pd.DataFrame:
    """KD-SSP against each of the other students in mIoU."""
    results, lines = read("tables/results.json"), []
    students = {
        row["system"]: "†" if row["encoder_start"] == "scratch" else "" for row in results["rows"]
        if row["kind"] != "control" and row["system"] not in ("Teacher", "KD-SSP")
    }
    for name, mark in students.items():
        claim = Claim("", "KD-SSP", name, "miou")
        lines.append({
            "KD-SSP against": name + mark,
            **{f"{title}: paper": points(printed_difference(claim, dataset)) for dataset, title in TITLES.items()},
            **{f"{title}: here": cell(claim.found(dataset)) for dataset, title in TITLES.items()},
            "Came out here?": came_out([claim.judged(dataset) for dataset in TITLES]),
        })
    return pd.DataFrame(lines)


def parts() -> pd.DataFrame:
    """Claims about parts of the method, and about its cost, with the file that each was measured in."""
    costs = {entry["system"]: entry for entry in read("complexity.json")}
    more = {key: costs["SSP"][key] - costs["Base"][key] for key in ("params_m", "gmacs")}
    printed = {key: published("SSP", key) - published("Base", key) for key in ("params_m", "gflops")}
    lines = [
        _line("SSP adds few parameters", f"{printed['params_m']:+.2f} M", f"{more['params_m']:+.2f} M",
              _same(more["params_m"], printed["params_m"], 0.01), link("complexity.json")),
        _line("SSP adds few multiply-adds a frame", f"{printed['gflops']:+.1f} G", f"{more['gmacs']:+.1f} G",
              _same(more["gmacs"], printed["gflops"], 0.5), link("complexity.json")),
        _line("SSP runs nearly as fast as its image model on a GPU (paper: A100)", _rates("fps_a100"), *_on_gpu()),
        _line("SSP runs in real time on a Jetson Orin", _rates("fps_orin"), NONE, UNTESTED, NONE),
    ]
    registration = read("registration.json")["clips"]
    for dataset, title in TITLES.items():
        clip = registration[f"demo/{dataset}"]
        tried = [name for name in MATCHERS if clip[name]["pairs"] == clip["identity"]["pairs"]]
        best = min(tried, key=lambda name, clip=clip: clip[name]["exact_px"])
        errors, failed = [clip[name]["exact_px"] for name in (best, "identity")], clip[best]["failed"]
        lines.append(_line(
            f"A homography registers consecutive frames ({title})", NONE,
            f"{best}: {errors[0]:.2f} px off, the identity {errors[1]:.2f} px; {failed} of {clip[best]['pairs']} failed",
            "yes" if errors[0] < 0.5 * errors[1] and not failed else "no", link("registration.json"),
        ))
        labels = read("deviations.json")[dataset]["fusion"]
        gains = [labels["followed"][score] - labels["unfused"][score] for score in ("miou", "tc")]
        lines.append(_line(
            f"Fusion makes the teacher's labels more consistent and no worse ({title})", NONE,
            f"{points(gains[1])} TC, {points(gains[0])} mIoU of the labels (one seed)",
            "yes" if gains[1] > 0 and gains[0] > -MARGIN else "no", link("deviations.json"),
        ))
    return pd.DataFrame(lines + _ablated())


def _line(claim: str, printed: str, here: str, word: str, figure: str) -> dict[str, str]:
    return {"Claim": claim, "Paper": printed, "Here": here, "Came out here?": word, "Figure": figure}


def _same(ours: float, theirs: float, tolerance: float) -> str:
    return "yes" if abs(ours - theirs) <= tolerance else "no"


def _rates(column: str) -> str:
    return " and ".join(f"{name} {published(name, column):g}" for name in ("Base", "SSP")) + " frames/s"


def _on_gpu() -> tuple[str, str, str]:
    """Frames a second of Base and SSP on the first GPU that was measured."""
    for path in sorted((ROOT / "figures" / "hardware").glob("*.json")):
        measured = read(f"hardware/{path.name}")
        rates = {row["system"]: row["fps"] for row in measured["streams"] if row["mode"] == "float32"}
        if (gpu := measured["provenance"].get("gpu")) and {"Base", "SSP"} <= rates.keys():
            word = "yes" if rates["SSP"] > 0.85 * rates["Base"] else "no"
            return f"{gpu}: Base {rates['Base']:.1f}, SSP {rates['SSP']:.1f} frames/s", word, link(f"hardware/{path.name}")
    return NONE, UNTESTED, NONE


ABLATED = {  # variant of chapter 09 -> what the method does better than it
    "no registration": "The past has to be moved into place",
    "no interpolation": "The recurrence brings more than the consistency loss alone",
    "lambda 0": "The consistency loss brings more than the recurrence alone",
    "cosine similarity": "A learned similarity is better than the cosine of the features",
    "unfused labels": "KD-SSP learns better from fused labels than from unfused ones",
}


def _ablated() -> list[dict[str, str]]:
    """Ablations of SSP, where a run of chapter 09 was published."""
    file = "tables/ablations.json"
    if not (ROOT / "figures" / file).is_file():
        return [
            _line(claim, NONE, "chapter 09: `./reproduce.sh --ablations`", MISSING, NONE)
            for claim in ABLATED.values()
        ]
    rows, lines = read(file)["rows"], []
    for variant, claim in ABLATED.items():
        for row in (row for row in rows if row["variant"] == variant):
            other = next(each for each in rows if (each["dataset"], each["variant"]) == (row["dataset"], row["compared_with"]))
            gains = [other[score] - row[score] for score in ("miou", "tc")]
            lines.append(_line(
                f"{claim} ({TITLES[row['dataset']]})", NONE, f"{points(gains[0])} mIoU, {points(gains[1])} TC (one seed)",
                UNKNOWN, link("tables/ablations.md"),
            ))
    return lines


def origin() -> pd.DataFrame:
    """Which runs the tables are from."""
    lines = []
    for table in ("results", "seeds"):
        results = read(f"tables/{table}.json")
        about, intervals = results["provenance"], NONE
        if paired := results.get("differences"):
            seeds = "seeds and " if paired[0]["seeds"] > 1 else ""
            intervals = f"{100 * LEVEL:.0f} %, {DRAWS} draws over {seeds}{paired[0]['sequences']} sequences"
        lines.append({
            "Table": link(f"tables/{table}.md"), "Data": about["data"], "Profile": about["profile"],
            "Training": seeds_text(about), "Commit": f"`{about['commit']}`",
            "Intervals": intervals,
        })
    return pd.DataFrame(lines)


BLOCKS = {
    "claims": lambda: table_of(PAPER, paper=True), "claims-best": best_student, "claims-parts": parts,
    "claims-ours": lambda: table_of(OURS, paper=False), "claims-origin": origin,
}
