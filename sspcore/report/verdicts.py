"""What the controls say of the metrics (notebook 11): counts, and a recommendation worked out from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sspcore.evaluation.controls import CARRIED, CONSTANT, FAMILIES, HELD, advantage, flow_sensitivity, oriented
from sspcore.metrics import METRICS, build_metric
from sspcore.report.tables import SHIPPED

Row = dict[str, Any]
Matrices = Mapping[str, Mapping[str, list[Row]]]  # data set -> flow -> rows
Correlations = Mapping[str, np.ndarray]  # data set -> rank correlation over METRICS

TRIVIAL = (CONSTANT, HELD, CARRIED)
ORDER = tuple(metric for family in FAMILIES.values() for metric in family)
LEFT_OUT = ("tc_reference",)  # never recommended: it repeats known slips, to stand beside printed figures only
REASONS = (
    "* The constant-alpha curve and the truth's own scores belong into every table: averaging is the cheapest way to "
    "consistency, and without a ceiling it is not known what is left to gain.",
    "* `tc_reference` serves to stand beside printed figures only: it repeats the published code's slips.",
    "* A ranking holds for these data, these flows and these systems; with few systems a rank correlation says little.",
)


def value_text(metric: str, value: float | None) -> str:
    """A metric's value as it is printed: percent, `lag` in frames, a dash for what could not be scored."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.2f}" if metric == "lag" else f"{100 * value:.1f}"


class Cases(list[bool]):
    """Whether something holds, case by case; printed as "2 of 5", a dash without cases."""

    @property
    def share(self) -> float:
        return sum(self) / len(self) if self else math.nan

    def __str__(self) -> str:
        return f"{sum(self)} of {len(self)}" if self else "–"


@dataclass(frozen=True)
class Verdict:
    """How a metric stood the controls, over all data sets and flows.

    Attributes:
        metric: its name.
        trivial, averaging: cases (control x data set x flow) in which it prized a trivial control, or averaging with a
            constant alpha, as highly as the best trained student.
        above_truth: cases in which a system or control scores better than the truth.
        truth: lowest and highest value of the truth, None where there is no truth.
        flow: largest difference that the choice of flow makes for one system; NaN unknown.
    """

    metric: str
    trivial: Cases
    averaging: Cases
    above_truth: Cases
    truth: tuple[float, float] | None
    flow: float

    def columns(self) -> dict[str, str]:
        """As a line of a table."""
        low, high = self.truth or (None, None)
        return {
            "fooled by trivial controls": str(self.trivial), "fooled by averaging": str(self.averaging),
            "scored above the truth": str(self.above_truth), "truth, lowest": value_text(self.metric, low),
            "truth, highest": value_text(self.metric, high), "change with the flow": value_text(self.metric, self.flow),
        }

    @property
    def weakness(self) -> tuple[float, ...]:
        """Sorts metrics, best first: least fooled, then fewest scores above the truth, then least fooled by averaging."""
        shares = (self.trivial.share, self.above_truth.share, self.averaging.share, self.flow)
        return tuple(0.0 if math.isnan(share) else share for share in shares)


def verdicts(matrices: Matrices) -> dict[str, Verdict]:
    """Metric -> how it stood the controls."""
    return {metric: _verdict(metric, matrices) for metric in ORDER}


def _verdict(metric: str, matrices: Matrices) -> Verdict:
    trivial, averaging, above, truths = Cases(), Cases(), Cases(), []
    reads_flow = bool(build_metric(metric, 1, (0,)).needs & {"flow_to_next", "flow_to_previous"})
    for flows in matrices.values():
        for rows in list(flows.values())[: None if reads_flow else 1]:  # else a case would count once for each flow
            for control, gains in advantage(rows).items():
                if not math.isnan(gains[metric]):
                    (trivial if control in TRIVIAL else averaging).append(gains[metric] >= 0)
            known = [row for row in rows if row[metric] is not None]
            here = [row[metric] for row in known if row["kind"] == "truth"]
            scores = [row[metric] for row in known if row["kind"] != "truth"]
            above += [oriented(metric, score) > oriented(metric, truth) for truth in here for score in scores]
            truths += here
    spans = [flow_sensitivity(flows)[metric] for flows in matrices.values()]
    flow = max((span for span in spans if not math.isnan(span)), default=math.nan)
    return Verdict(metric, trivial, averaging, above, (min(truths), max(truths)) if truths else None, flow)


def recommendation(matrices: Matrices, correlations: Correlations, titles: Mapping[str, str] = SHIPPED) -> str:
    """Markdown: which figures to print; what the numbers say and what holds whatever they say stand apart."""
    scored = {metric: verdict for metric, verdict in verdicts(matrices).items() if verdict.trivial}
    if not scored:
        return "No trained system has been scored: nothing can be recommended."
    flows = list(dict.fromkeys(flow for by_flow in matrices.values() for flow in by_flow))
    sound = [metric for metric, verdict in scored.items() if not any(verdict.trivial)]
    fooled, averaged, above = (_named(scored, field) for field in ("trivial", "averaging", "above_truth"))
    lines = [f"On {' and '.join(titles[name] for name in matrices)}, under {', '.join(flows)} flow (cases in brackets):", ""]
    if fooled:
        lines.append(f"* **Fooled by trivial controls**: {fooled}. None of these may stand alone.")
    lines.append(f"* **Never fooled by trivial controls**: {', '.join(f'`{m}`' for m in sound) or 'none of the metrics'}.")
    if averaged:
        lines.append(
            f"* **Averaging without training does as well as the best student** by {averaged}: "
            "there a claim has to beat the constant-alpha curve, not Base."
        )
    if above:
        lines.append(f"* **Scores above the truth's own**: {above}. Beyond its ceiling a higher score is no merit.")
    advice = _advice(scored, sound, correlations)
    return "\n".join([
        *lines, "", "**Print, by these numbers**", "", *advice, "", "**Reasons that no number here decides**", "", *REASONS
    ])


def _named(scored: Mapping[str, Verdict], field: str) -> str:
    """The metrics with cases in a field, with their number."""
    cases = {metric: getattr(verdict, field) for metric, verdict in scored.items()}
    return ", ".join(f"`{metric}` ({count})" for metric, count in cases.items() if any(count))


def _advice(scored: Mapping[str, Verdict], sound: Sequence[str], correlations: Correlations) -> list[str]:
    lines = []
    accuracy, consistency, both = ([m for m in members if m in scored and m not in LEFT_OUT] for members in FAMILIES.values())
    if accuracy:
        best = min(accuracy, key=lambda metric: scored[metric].weakness)
        standing = "never fooled by a trivial control" if best in sound else "the least fooled of its family"
        lines.append(f"1. `{best}` for accuracy: {standing}.")
    if consistency:
        best = min(consistency, key=lambda metric: scored[metric].weakness)
        columns, ceiling, moved = scored[best].columns(), "", ""
        aside = "".join(f", `{metric}` aside," for metric in LEFT_OUT if metric in scored)
        if not math.isnan(scored[best].flow):
            moved = f", and the choice of flow moves it by {columns['change with the flow']} at most"
        if scored[best].truth is not None:
            ceiling = (
                f" and together with the truth's own value ({columns['truth, lowest']} to {columns['truth, highest']} here)"
            )
        lines.append(
            f"1. `{best}` for consistency, only beside the accuracy{ceiling}: no other of its family{aside} is fooled in a "
            f"smaller share of cases ({columns['fooled by trivial controls']}){moved}."
        )
    agreement = {metric: _agreement(metric, consistency, correlations) for metric in (*both, *accuracy) if metric in sound}
    agreement = {metric: value for metric, value in agreement.items() if not math.isnan(value)}
    if agreement:
        best = max(agreement, key=agreement.__getitem__)
        lines.append(
            f"1. `{best}` where one figure must do: never fooled by a trivial control, and of such metrics the nearest in rank "
            f"to the consistency family (mean rank correlation {agreement[best]:.2f})."
        )
    return lines


def _agreement(metric: str, others: Sequence[str], correlations: Correlations) -> float:
    """Mean rank correlation with other metrics over all data sets; NaN where none is known."""
    names = list(METRICS)
    values = [matrix[names.index(metric), names.index(other)] for matrix in correlations.values() for other in others]
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
