"""Panels side by side: what each shows, and that their numbers are those of the labels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sspcore.core.errors import SspError
from sspcore.data.datasets import UAVID
from sspcore.inference.fit import Fit
from sspcore.inference.outputs import overlay
from sspcore.inference.panels import PANELS, Panels, require_panels
from sspcore.inference.stream import Segmented

SOURCE = (256, 384)


def result(number: int, split: int, alone: int, alpha: float = 0.25) -> Segmented:
    """Left of column `split` (of the source) class 1, right of it class 2; the image model alone puts it at `alone`."""
    fit = Fit.of(SOURCE, (96, 96))  # content 64x96, a margin below
    labels = np.where(np.arange(SOURCE[1]) < split, np.uint8(1), np.uint8(2))[None].repeat(SOURCE[0], 0)

    def logits(column: int) -> torch.Tensor:
        small = torch.zeros(8, 64, 96)
        small[1, :, : column // 4], small[2, :, column // 4 :] = 5, 5
        return small

    state = SimpleNamespace(alpha=torch.full((1, 1, 96, 96), alpha))
    state.alpha[:, :, 64:] = 1  # the margin's does not count
    image = np.full((*SOURCE, 3), 90, np.uint8)
    return Segmented(number, f"{number:06d}", image, labels, logits(split), state, number == 0, True, fit, logits(alone))


def still(current, previous):
    return torch.zeros(1, 2, *current.shape[-2:])


def test_the_overlay_is_the_frame_under_the_colours_at_any_scale():
    image = overlay(UAVID)(result(0, 192, 192))
    assert image.shape == (*SOURCE, 3)
    expected = 0.55 * 90 + 0.45 * np.array(UAVID.palette[1])
    assert np.abs(image[100, 50] - expected).max() <= 1 and not np.array_equal(image[100, 50], image[100, 300])
    assert overlay(UAVID, 0.5)(result(0, 192, 192)).shape == (128, 192, 3)


def test_a_sheet_has_its_panels_in_order():
    sheet = Panels(("frame", "overlay"), UAVID, "SSP")(result(0, 192, 192))
    assert sheet.shape[1] == 384 + 6 and sheet.shape[0] - 16 == 128
    frame, drawn = sheet[16:, :192], sheet[16:, 198:]
    assert (frame == 90).all()
    assert np.abs(drawn[60, 20] - (0.55 * 90 + 0.45 * np.array(UAVID.palette[1]))).max() <= 1
    five = Panels(PANELS, UAVID, "SSP", still)(result(0, 192, 192))
    assert five.shape[0] == 2 * (16 + 85) and (five[-85:, 264:] == 255).all()  # two rows, one place left


def test_alpha_is_that_of_the_content():
    sheets = [Panels(("alpha",), UAVID, "SSP")(result(0, 192, 192, alpha)) for alpha in (0.0, 1.0)]
    shown = [np.unique(sheet[16:].reshape(-1, 3), axis=0) for sheet in sheets]
    assert [len(colours) for colours in shown] == [1, 1]  # without the margin's
    assert shown[0].sum() < 250 < shown[1].sum()


def test_flicker_is_what_changed_along_the_flow():
    panels = Panels(("alone", "overlay", "flicker"), UAVID, "SSP", still)
    first, second = result(0, 192, 192), result(1, 192 + 16, 192 + 64)
    assert panels._changed(first) == {"overlay": None, "alone": None}
    changed = panels._changed(second)
    assert changed["overlay"].mean() == pytest.approx(4 / 96) and changed["alone"].mean() == pytest.approx(16 / 96)
    panels = Panels(("flicker",), UAVID, "SSP", still)
    sheets = [panels(first), panels(second)]
    magenta = [(sheet == (255, 0, 255)).all(-1) for sheet in sheets]
    assert not magenta[0].any() and magenta[1].any(0).nonzero()[0].tolist() == list(range(192, 208))


def test_what_a_backend_has_nothing_for_is_refused():
    bundle, ssp = SimpleNamespace(), SimpleNamespace(model=SimpleNamespace(propagate=None))
    require_panels(PANELS, ssp)
    require_panels(("frame", "overlay", "flicker"), bundle)
    for names, backend, message in (
        (("alpha",), bundle, "only SSP run from a checkpoint"), (("overlays",), ssp, "take some of frame"),
        ((), ssp, "take some of"),
    ):
        with pytest.raises(SspError, match=message):
            require_panels(names, backend)
