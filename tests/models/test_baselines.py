"""DFF, NetWarp and TCB: what each keeps of the past, and what it does with it."""

from __future__ import annotations

import pytest
import torch

from helpers.systems import CLASSES, FLOW_TRAINED, HEIGHT, PROFILE, WIDTH, wake, window_of
from sspcore.core.types import Window
from sspcore.models.interface import upsample
from sspcore.models.systems import build, start_from


class TestBaselines:
    def test_dff_carries_the_key_frames_labels_along_the_flow(self) -> None:
        model = build("DFF", CLASSES, PROFILE, load_weights=False).eval()
        window = window_of(2)
        window.flow_to_prev[:] = torch.tensor([-8.0, 4.0]).view(1, 1, 2, 1, 1)
        with torch.no_grad():
            key = model.image.decode(model.image.encode(window.frames[:, 0]))
            logits = model.rollout(window)[:, 1]
        # 8 px to the right and 4 px up are 2 and 1 pixels of the decoder's grid.
        shifted = torch.zeros_like(key)
        shifted[..., :-1, 2:] = key[..., 1:, :-2]
        inside = (..., slice(0, HEIGHT - 16), slice(20, WIDTH))  # clear of the border and of bicubic reach
        expected = upsample(shifted, (HEIGHT, WIDTH))
        torch.testing.assert_close(logits[inside], expected[inside], rtol=0, atol=1e-4)

    def test_netwarp_starts_as_the_image_model(self) -> None:
        model = build("NetWarp", CLASSES, PROFILE, load_weights=False).eval()
        window = window_of(3)
        with torch.no_grad():
            torch.testing.assert_close(model.rollout(window), model.image(window).logits)

    def test_netwarp_flow_starts_near_the_given_flow(self) -> None:
        model = build("NetWarp", CLASSES, PROFILE, load_weights=False)
        flow, frame = torch.full((1, 2, HEIGHT, WIDTH), 7.0), torch.zeros(1, 3, HEIGHT, WIDTH)
        refined = model.flow_cnn(flow, frame, frame)
        assert (refined - flow).abs().max() < 1.0

    @pytest.mark.parametrize("name", ["DFF", "NetWarp"])
    def test_a_raft_of_its_own_gives_what_the_same_flow_from_outside_gives(self, name: str) -> None:
        owner = wake(build(name, CLASSES, FLOW_TRAINED, load_weights=False)).eval()
        other = build(name, CLASSES, PROFILE, load_weights=False).eval()
        start_from(other, {k: v for k, v in owner.state_dict().items() if not k.startswith("raft.")})
        assert owner.needs == set() and other.needs == {"flow"}
        window = window_of(3)
        with torch.no_grad():
            flow = [owner.raft(window.frames[:, k], window.frames[:, k - 1]) for k in (1, 2)]
            given = Window(window.frames, flow_to_prev=torch.stack(flow, dim=1))
            torch.testing.assert_close(owner.rollout(Window(window.frames)), other.rollout(given), rtol=0, atol=1e-5)
            assert (other.rollout(window) - other.rollout(given)).abs().max() > 1e-3  # the flow matters

    def test_published_flow_cnn_starts_at_random(self) -> None:
        published, ours = (build("NetWarp", CLASSES, p, load_weights=False).flow_cnn for p in (FLOW_TRAINED, PROFILE))
        assert ours.merge.bias.count_nonzero() == 0 and ours.merge.weight[0, 2, 1, 1] == 1
        assert published.merge.bias.all() and published.merge.weight.abs().max() <= 36**-0.5

    @pytest.mark.parametrize("name", ["TCB_ppm", "TCB_ocr"])
    def test_tcb_fills_the_clip_with_the_first_frame(self, name: str) -> None:
        model = build(name, CLASSES, PROFILE, load_weights=False).eval()
        window = window_of(2)
        first = window.frames[:, :1]
        repeated = Window(torch.cat((first, first, first, window.frames[:, 1:]), dim=1))
        with torch.no_grad():
            torch.testing.assert_close(model.rollout(window)[:, 1], model(repeated).logits[:, 0], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("name", ["TCB_ppm", "TCB_ocr"])
    def test_tcb_looks_at_all_four_frames(self, name: str) -> None:
        model = build(name, CLASSES, PROFILE, load_weights=False).eval()
        window = window_of(4)
        with torch.no_grad():
            logits = model(window).logits
            for k in range(3):
                changed = Window(window.frames.clone())
                changed.frames[:, k] += 1
                assert not torch.equal(model(changed).logits, logits)
