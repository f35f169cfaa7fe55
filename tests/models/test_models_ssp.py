"""SSP's equations against a few lines written independently, its options, and SSP-R's evidence channels."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from helpers.systems import LITE, lite_image
from sspcore.models import ImageSegmenter, Motion, Window
from sspcore.models.similarity import LearnedSimilarity, carried_variance, evidence_channels
from sspcore.models.spec import CLASS_CHANNELS, EVIDENCE_CHANNELS
from sspcore.models.ssp import SSP, SSPOptions

CLASSES, HEIGHT, WIDTH = 4, 64, 96
SHIFT_X, SHIFT_Y = 8, -4  # the camera's motion: what was at (x, y) is now at (x + 8, y - 4)


@pytest.fixture(scope="module")
def image() -> ImageSegmenter:
    return lite_image(CLASSES)


def ssp(image: ImageSegmenter, **options) -> SSP:
    return SSP(image, SSPOptions(**options)).eval()


@pytest.fixture(scope="module")
def window() -> Window:
    H = torch.eye(3).repeat(1, 2, 1, 1)
    H[..., 0, 2], H[..., 1, 2] = SHIFT_X, SHIFT_Y
    return Window(torch.randn(1, 3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)), H_prev_to_cur=H)


def shifted(values: Tensor, by_x: int, by_y: int, fill: float = float("nan")) -> Tensor:
    """Integer shift to the right and down, `fill` where nothing comes from."""
    out = torch.full_like(values, fill)
    height, width = values.shape[-2:]
    for y in range(height):
        for x in range(width):
            if 0 <= x - by_x < width and 0 <= y - by_y < height:
                out[..., y, x] = values[..., y - by_y, x - by_x]
    return out


@torch.no_grad()
def test_recurrence_with_a_fixed_alpha(image: ImageSegmenter, window: Window) -> None:
    alpha = 0.3
    single = image(window).logits
    expected = single[:, 0]
    rolled = ssp(image, similarity="constant", alpha=alpha).rollout(window)
    torch.testing.assert_close(rolled[:, 0], expected, rtol=0, atol=1e-5)
    for k in (1, 2):
        past = shifted(expected, SHIFT_X, SHIFT_Y)
        mixed = alpha * past + (1 - alpha) * single[:, k]
        expected = torch.where(past.isnan(), single[:, k], mixed)
        torch.testing.assert_close(rolled[:, k], expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_no_ghost_where_there_was_no_past(image: ImageSegmenter, window: Window) -> None:
    model = ssp(image, similarity="constant", alpha=1.0)
    single = image(window).logits
    _, state = model.step(window.frames[:, 0], None, None)
    logits, state = model.step(window.frames[:, 1], state, window.motion(1))
    entered = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    entered[:, :SHIFT_X] = entered[SHIFT_Y:] = True
    torch.testing.assert_close(logits[..., entered], single[:, 1][..., entered], rtol=0, atol=1e-5)
    assert not state.alpha[..., entered].any()
    assert (state.alpha[..., ~entered] == 1).all()


@torch.no_grad()
def test_reference_leaves_a_past_of_zeros_outside(image: ImageSegmenter, window: Window) -> None:
    pair = Window(window.frames[:, :2], window.H_prev_to_cur[:, :1])
    logits = ssp(image, similarity="constant", alpha=0.4, mask_alpha=False).rollout(pair)[:, 1]
    single = image(pair).logits[:, 1]
    torch.testing.assert_close(logits[..., :SHIFT_X], 0.6 * single[..., :SHIFT_X], rtol=0, atol=1e-5)


@torch.no_grad()
def test_past_far_out_of_view_leaves_the_image_models_prediction(image: ImageSegmenter, window: Window) -> None:
    H = torch.eye(3)[None].clone()
    H[..., 0, 2] = 10 * WIDTH
    model = ssp(image)
    _, state = model.step(window.frames[:, 0], None, None)
    logits, _ = model.step(window.frames[:, 1], state, Motion(H_prev_to_cur=H))
    assert torch.equal(logits, image.step(window.frames[:, 1])[0])


class Recorder(torch.nn.Module):
    """A similarity that keeps what it was given."""

    def forward(self, past: Tensor, present: Tensor, evidence: Tensor | None) -> Tensor:
        self.past, self.present, self.evidence = past, present, evidence
        return torch.zeros_like(present[:, :1])


@torch.no_grad()
def test_features_are_registered_at_stride_4(image: ImageSegmenter, window: Window) -> None:
    model = ssp(image)
    model.similarity = Recorder()
    _, state = model.step(window.frames[:, 0], None, None)
    model.step(window.frames[:, 1], state, window.motion(1))
    expected = shifted(state.features, SHIFT_X // 4, SHIFT_Y // 4, fill=0.0)
    torch.testing.assert_close(model.similarity.past, expected, rtol=1e-4, atol=1e-5)
    features = image.encode(window.frames[:, 1])[-4]
    assert torch.equal(model.similarity.present, features)


@torch.no_grad()
def test_homography_is_rescaled_with_the_half_pixel(image: ImageSegmenter, window: Window) -> None:
    """A zoom by two about the frame's corner: pixel areas double, at full size and at stride 4 alike."""
    H = torch.diag(torch.tensor([2.0, 2.0, 1.0]))[None].clone()
    H[:, :2, 2] = 0.5  # x + 0.5 doubles
    model = ssp(image)
    model.similarity = Recorder()
    _, state = model.step(window.frames[:, 0], None, None)
    ramp = torch.arange(WIDTH // 4, dtype=torch.float32).expand_as(state.features).contiguous()
    state = type(state)(state.logits, ramp, state.alpha, state.frame)
    model.step(window.frames[:, 1], state, Motion(H_prev_to_cur=H))
    columns = torch.arange(1, WIDTH // 4)  # column 0 is read from -0.25, where the border repeats
    torch.testing.assert_close(
        model.similarity.past[..., 1:], ((columns + 0.5) / 2 - 0.5).expand(1, ramp.shape[1], HEIGHT // 4, -1)
    )


@torch.no_grad()
def test_ablations_change_the_result_and_need_what_they_use(image: ImageSegmenter, window: Window) -> None:
    assert ssp(image).needs == {"homography"}
    identity = ssp(image, registration="identity", similarity="constant")
    assert identity.needs == frozenset()
    still = Window(window.frames, torch.eye(3).repeat(1, 2, 1, 1))
    registered = ssp(image, similarity="constant")
    assert torch.equal(identity.rollout(window), registered.rollout(still))
    assert not torch.allclose(identity.rollout(window), registered.rollout(window))


def test_cosine_similarity_of_features() -> None:
    cosine = SSP(ImageSegmenter(LITE, CLASSES), SSPOptions(similarity="cosine")).similarity
    past = torch.tensor([[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [1.0, 0.1]]).T[None, :, None]
    present = torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]).T[None, :, None]
    expected = torch.tensor([0.95, 0.25, 0.0, 0.95])  # the fourth power of the cosine, at most 0.95
    torch.testing.assert_close(cosine(past, present, None)[0, 0, 0], expected)


def test_similarity_head_has_the_papers_size() -> None:
    parameters = sum(p.numel() for p in LearnedSimilarity(96).parameters())
    assert parameters == 192 * 96 * 9 + 96 * 48 * 9 + 2 * (96 + 48) + 48 + 1  # 0.21 M
    with_evidence = sum(p.numel() for p in LearnedSimilarity(96, 14).parameters())
    assert with_evidence - parameters == 14 * 96 * 9 and with_evidence < 250_000


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 1.2}, {"similarity": "cosine", "evidence": True}, {"variance": True}, {"classes": True},
        {"similarty": "learned"}, {"gate": {}, "registration": "identity"}, {"gate": {}, "registration": "flow"},
        {"gate": {"threshold": "mean"}}, {"gate": {"threshold": 1.5}}, {"gate": {"grid": 0}},
    ],
)
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(ValidationError):
        SSPOptions(**options)


class TestEvidence:
    def test_nothing_changed(self) -> None:
        frame, probabilities = torch.randn(1, 3, 2, 2), torch.randn(1, CLASSES, 2, 2).softmax(1)
        residual, disagreement, past, present, valid = evidence_channels(
            frame, frame, probabilities, probabilities, torch.ones(1, 1, 2, 2, dtype=torch.bool)
        )[0]
        assert not residual.any() and not disagreement.any() and valid.all()
        torch.testing.assert_close(past, probabilities[0].max(0).values)
        assert torch.equal(past, present)

    def test_everything_changed(self) -> None:
        frame = torch.zeros(1, 3, 1, 1)
        sure_of_0, sure_of_1 = torch.zeros(1, CLASSES, 1, 1), torch.zeros(1, CLASSES, 1, 1)
        sure_of_0[:, 0], sure_of_1[:, 1] = 1, 1
        seen = torch.ones(1, 1, 1, 1, dtype=torch.bool)
        channels = evidence_channels(frame + 0.5, frame, sure_of_0, sure_of_1, seen)
        torch.testing.assert_close(channels.flatten(), torch.tensor([0.5, 1, 1, 1, 1]))
        unseen = evidence_channels(frame + 0.5, frame, sure_of_0, sure_of_1, ~seen)
        torch.testing.assert_close(unseen.flatten(), torch.tensor([0.0, 0, 0, 1, 0]))

    @torch.no_grad()
    def test_registered_frame_is_compared(self, image: ImageSegmenter, window: Window) -> None:
        model = ssp(image, evidence=True)
        model.similarity = Recorder()
        first = window.frames[:, 0]
        moved = shifted(first, SHIFT_X, SHIFT_Y, fill=0.0)
        _, state = model.step(first, None, None)
        model.step(moved, state, window.motion(1))
        residual, valid = model.similarity.evidence[:, 0], model.similarity.evidence[:, 4]
        assert residual.abs().max() < 1e-4
        assert valid.mean() == (1 - 1 / (HEIGHT // 4)) * (1 - 2 / (WIDTH // 4))


def test_recurrent_training_reaches_the_first_frame(image: ImageSegmenter, window: Window) -> None:
    frames = window.frames.clone().requires_grad_()
    ssp(image)(Window(frames, window.H_prev_to_cur)).logits[:, -1].sum().backward()
    assert all(frames.grad[:, k].any() for k in range(3))


class Fixed(torch.nn.Module):
    """A similarity head that gives each step the next of some alphas, and keeps the variance channel that it saw."""

    def __init__(self, alphas: list[float]) -> None:
        super().__init__()
        self.alphas, self.seen = iter(alphas), []

    def forward(self, past: Tensor, present: Tensor, evidence: Tensor) -> Tensor:
        self.seen.append(evidence[:, 5:])
        return torch.full_like(present[:, :1], next(self.alphas))


class TestVariance:
    def test_the_best_gain_averages_all_frames_alike(self) -> None:
        variance = torch.ones(1, 1, 1, 1)
        for k in range(1, 6):
            alpha = 1 / (1 + variance)
            torch.testing.assert_close(alpha.item(), k / (k + 1))  # each of k + 1 frames weighs the same
            variance = carried_variance(alpha, variance)
            torch.testing.assert_close(variance.item(), 1 / (k + 1))  # as of a mean of k + 1

    @torch.no_grad()
    def test_it_is_carried_along_and_begins_again_where_there_is_no_past(self, image: ImageSegmenter, window: Window) -> None:
        model = ssp(image, evidence=True, variance=True)
        model.similarity = Fixed([0.5, 0.5])
        _, state = model.step(window.frames[:, 0], None, None)
        assert (state.variance == 1).all()
        _, state = model.step(window.frames[:, 1], state, window.motion(1))
        assert state.variance.unique().tolist() == [0.5, 1.0], "seen twice, or new in view"
        _, state = model.step(window.frames[:, 2], state, window.motion(2))
        assert model.similarity.seen[1].min() == 0.5 and state.variance.min() == 0.375

    def test_options_that_came_later_leave_old_keys_alone(self) -> None:
        assert not {"variance", "classes", "gate"} & set(SSPOptions().key())
        assert SSPOptions(evidence=True, variance=True).key()["variance"]
        assert SSPOptions(evidence=True, classes=True).key()["classes"]


class TestClassEvidence:
    def named(self, image: ImageSegmenter) -> SSP:
        """A system whose embedding copies the first classes' probabilities of the past, then those of the present."""
        model = ssp(image, evidence=True, variance=True, classes=True)
        weight = torch.zeros_like(model.class_embedding.weight)
        half = CLASS_CHANNELS // 2
        for channel in range(half):
            weight[channel, channel], weight[half + channel, CLASSES + channel] = 1, 1
        model.class_embedding.load_state_dict({"weight": weight, "bias": torch.zeros(CLASS_CHANNELS)})
        return model

    @torch.no_grad()
    def test_the_head_sees_which_classes_past_and_present_name(self, image: ImageSegmenter, window: Window) -> None:
        model, half = self.named(image), CLASS_CHANNELS // 2
        model.similarity = Recorder()
        frame = window.frames[:, 0]
        _, state = model.step(frame, None, None)
        model.step(frame, state, replace(window.motion(1), H_prev_to_cur=torch.eye(3).expand(len(frame), 3, 3)))
        seen = model.similarity.evidence[:, EVIDENCE_CHANNELS + 1:]
        present = model.observe(frame).logits_stride4.softmax(1)[:, :half]
        past = torch.nn.functional.avg_pool2d(state.logits, 4).softmax(1)[:, :half]
        torch.testing.assert_close(seen[:, half:], present)
        torch.testing.assert_close(seen[:, :half], past)

    @torch.no_grad()
    def test_what_was_out_of_view_has_no_class(self, image: ImageSegmenter, window: Window) -> None:
        model, half = self.named(image), CLASS_CHANNELS // 2
        model.similarity = Recorder()
        _, state = model.step(window.frames[:, 0], None, None)
        model.step(window.frames[:, 1], state, window.motion(1))
        evidence = model.similarity.evidence
        unseen = evidence[:, 4] == 0
        past, present = evidence[:, EVIDENCE_CHANNELS + 1:].split(half, dim=1)
        assert unseen.any() and not past.sum(1)[unseen].any() and present.sum(1)[unseen].all()

    def test_the_embedding_learns_with_a_frozen_image_model(self, image: ImageSegmenter, window: Window) -> None:
        model = ssp(copy.deepcopy(image), evidence=True, classes=True)
        model.freeze_image()
        model.train()
        model(window).logits.square().mean().backward()
        assert model.class_embedding.weight.grad.any()


def test_a_frozen_image_model_stays_as_it_was(image: ImageSegmenter, window: Window) -> None:
    model = ssp(copy.deepcopy(image), evidence=True, variance=True)
    model.freeze_image()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    model(window).logits.square().mean().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("similarity.") for name in changed), changed
