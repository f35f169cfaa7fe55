"""Readings of the method on which the reference's code and the paper's text, or plain geometry, differ.

Each field of `Conventions` has two named readings: first the corrected one, the default, then the reference's. The second
one is there for a single purpose: a figure that can stand beside a printed one. In a profile:

    conventions: reference                                   all of the reference's readings
    conventions: {soft_occlusion: sum}                       this one alone
    conventions: {base: reference, soft_occlusion: l1}       all but this one
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import model_validator

from sspcore.core.settings import Section

BASES = ("corrected", "reference")


class Conventions(Section):
    """One reading for each known slip of the reference.

    In brackets the section of METHOD. What each reading changes, alone and together with the others, is measured in section H
    of docs/deviations.md, on the packaged sample.

    Attributes:
        flow_warp: how L_tc and the fusion of teacher labels read the other frame along a flow. "aligned": bilinear, one pixel
            convention. "reference": the nearest pixel, coordinates scaled by W - 1 but sampled as if by W, zeros outside: up to
            half a pixel off at the frame's sides, besides the rounding. [3, 9]
        feature_warp: the same slip where DFF and NetWarp read features along a flow, there bilinear. [9]
        soft_occlusion: O, the weight of a pixel in L_tc. "l1": from the norm over colours, as printed. "sum": from the absolute
            value of the summed differences, where a change of hue cancels. [3]
        outside_view: pixels whose past lies outside the frame, in L_tc and in fusion. "left-out": no term, no average.
            "counted": as if the past were known. [3, 4]
        occlusion: M_occ of fusion. "followed": the second flow is read where the first one leads. "same-pixel": both flows at
            one pixel. [4]
        raft_input: of every RAFT. "unit": frames in -1..1, what it was trained on. "imagenet": ImageNet-normalised frames.
            [7]
        disk_input: of DISK, whose keypoints LightGlue matches. "unit": frames in 0..1. "imagenet": ImageNet-normalised frames.
            [the reference's code]
        registration_rule: from matches to a registration, of every registrator. "checked": the simplest model of motion that
            matches and grey levels support (`sspcore.motion.fitting`). "ransac": RANSAC's homography from 4 matches on.
            [2]
        fusion_updates: of RAFT in fusion. "as-losses": those of the profile's flow. "15": fifteen. Other flows have none.
            [the reference's code]
        half_pixel: a homography at stride 4. "kept": x_s = (x + 0.5) / s - 0.5. "dropped": x_s = x / s. Off by 3/8 px of the
            small grid times the motion's turn and zoom, by nothing under a shift. [2]
        past_outside: of SSP. "masked": alpha is 0 where the registered past has no source. "zeros": alpha mixes zeros in.
            [2]
        past_border: of SSP. "repeated": samples beyond the last pixel's centre repeat it. "zero-padded": they fade to zero, a
            ring one pixel wide of partly zero logits and features. [9]
        tcb_weights: of TCB_ppm. "own-frame": each frame's pooled features by its own softmax weight, summed. "shifted": by the
            weight of the frame before it (the oldest by the newest frame's), and averaged once more, so a quarter as large.
            [9]
        tcb_start: the first three frames of a stream through TCB. "first-frame": the first one fills the clip.
            "image-model": the image model alone. [9]
        netwarp_state: what a stream through NetWarp carries on. "own-features": the frame's own, as in training.
            "mixture": what they were mixed to. [the reference's code]
        tc: the TC of the results. "corrected": the metric `tc`. "reference": the metric `tc_reference`. [7]
        vc: the metrics vc8 and vc16. "formula": right on constant truth, mean over videos. "script": VSPW's script, see
            `sspcore.metrics.dense.ScriptVideoConsistency`. [7]

    Two slips have no field. With the reference's files TCB_ppm builds the block of TCB_ocr ("ppm" is asked for, "psp" compared
    with); the printed parameters tell that the published row has the pyramid block, and the other one is the row of TCB_ocr.
    And L_tc and KL are scaled by constants that lambda undoes.
    """

    flow_warp: Literal["aligned", "reference"] = "aligned"
    feature_warp: Literal["aligned", "reference"] = "aligned"
    soft_occlusion: Literal["l1", "sum"] = "l1"
    outside_view: Literal["left-out", "counted"] = "left-out"
    occlusion: Literal["followed", "same-pixel"] = "followed"
    raft_input: Literal["unit", "imagenet"] = "unit"
    disk_input: Literal["unit", "imagenet"] = "unit"
    registration_rule: Literal["checked", "ransac"] = "checked"
    fusion_updates: Literal["as-losses", "15"] = "as-losses"
    half_pixel: Literal["kept", "dropped"] = "kept"
    past_outside: Literal["masked", "zeros"] = "masked"
    past_border: Literal["repeated", "zero-padded"] = "repeated"
    tcb_weights: Literal["own-frame", "shifted"] = "own-frame"
    tcb_start: Literal["first-frame", "image-model"] = "first-frame"
    netwarp_state: Literal["own-features", "mixture"] = "own-features"
    tc: Literal["corrected", "reference"] = "corrected"
    vc: Literal["formula", "script"] = "formula"

    @model_validator(mode="before")
    @classmethod
    def _from_base(cls, value: Any) -> Any:
        named = {"base": value} if isinstance(value, str) else value
        if not isinstance(named, Mapping) or "base" not in named:
            return value
        base = named["base"]
        if base not in BASES:
            raise ValueError(f"{base!r}: unknown; take {' or '.join(BASES)}, or a mapping of readings")
        start = reference_readings() if base == "reference" else {}
        return start | {name: reading for name, reading in named.items() if name != "base"}

    def slips(self) -> dict[str, str]:
        """The readings that are the reference's: name -> reading."""
        return {name: reading for name, reading in self if reading != type(self).model_fields[name].default}

    def in_words(self) -> str:
        """What readers of a figure have to know: "" where everything is corrected."""
        slips = self.slips()
        if not slips:
            return ""
        return "the reference's conventions" if self == REFERENCE else f"the reference's reading of {', '.join(slips)}"

    def of(self, *names: str) -> dict[str, str]:
        """Some readings by name, for the keys of artefacts."""
        return {name: getattr(self, name) for name in names}


def reference_readings() -> dict[str, str]:
    """The reference's reading of every field."""
    return {name: get_args(field.annotation)[1] for name, field in Conventions.model_fields.items()}


CORRECTED = Conventions()
REFERENCE = Conventions(**reference_readings())
