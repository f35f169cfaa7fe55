"""Losses against a few lines of NumPy written from the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sspcore.core.types import Outputs, Window
from sspcore.training.losses import balanced_weights, cross_entropy, distillation, distilled, supervised, temporal_consistency

RNG = np.random.default_rng(3)


def tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.standard_normal(shape)).float()


def test_temporal_consistency_equals_the_formula_for_an_integer_flow():
    logits, previous = tensor(1, 4, 5, 6), tensor(1, 4, 5, 6)
    frame, previous_frame = tensor(1, 3, 5, 6), tensor(1, 3, 5, 6)
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0] = 1.0  # every pixel was one to the right before
    total = 0.0
    for y in range(5):
        for x in range(5):  # x = 5 has no past
            weight = np.exp(-np.abs(frame[0, :, y, x].numpy() - previous_frame[0, :, y, x + 1].numpy()).sum())
            total += weight * np.square(logits[0, :, y, x].numpy() - previous[0, :, y, x + 1].numpy()).sum()
    loss = temporal_consistency(logits, previous, frame, previous_frame, flow)
    assert float(loss) == pytest.approx(total / 30, rel=1e-5)


def test_temporal_consistency_of_a_perfectly_moved_prediction_is_zero():
    wide, frame = tensor(1, 4, 5, 8), tensor(1, 3, 5, 8)
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0] = 2.0
    loss = temporal_consistency(wide[..., 2:], wide[..., :6], frame[..., 2:], frame[..., :6], flow)
    assert float(loss) == pytest.approx(0.0, abs=1e-9)


def test_occlusion_weight_uses_the_l1_norm_not_the_sum_of_differences():
    """Colour changes of opposite sign cancel in a sum; the reference's slip would give them full weight."""
    logits, previous, zero = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)
    frame = torch.tensor([1.0, -1.0, 0.0])[None, :, None, None].expand(1, 3, 4, 4)
    loss = temporal_consistency(logits, previous, frame, zero, torch.zeros(1, 2, 4, 4))
    assert float(loss) == pytest.approx(2 * np.exp(-2), rel=1e-5)


def test_no_gradient_through_frames_or_flow():
    frame = tensor(1, 3, 4, 4).requires_grad_()
    flow = torch.zeros(1, 2, 4, 4)
    logits = tensor(1, 2, 4, 4).requires_grad_()
    temporal_consistency(logits, tensor(1, 2, 4, 4), frame, tensor(1, 3, 4, 4), flow).backward()
    assert frame.grad is None and logits.grad is not None


def test_distillation_equals_the_formula():
    student, teacher, t = tensor(2, 3, 4, 4), tensor(2, 3, 4, 4), 2.0
    p = np.exp(student.numpy() / t)
    p /= p.sum(1, keepdims=True)
    q = np.exp(teacher.numpy() / t)
    q /= q.sum(1, keepdims=True)
    expected = (q * np.log(q / p)).sum(1).mean() * t * t
    assert float(distillation(student, teacher, t)) == pytest.approx(expected, rel=1e-5)


def test_distillation_takes_teacher_logits_at_stride_4():
    teacher = torch.full((1, 3, 2, 3), 0.0)
    teacher[:, 1] = 5.0
    student = teacher[:, :, :1, :1].expand(1, 3, 8, 12).clone()
    assert float(distillation(student, teacher, 2.0)) == pytest.approx(0.0, abs=1e-6)


def test_cross_entropy_ignores_255_and_survives_a_batch_without_labels():
    logits = tensor(1, 3, 2, 2).requires_grad_()
    labels = torch.tensor([[[0, 255], [2, 255]]])
    log_p = torch.log_softmax(logits, 1)
    expected = -(log_p[0, 0, 0, 0] + log_p[0, 2, 1, 0]) / 2
    assert float(cross_entropy(logits, labels).detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    nothing = cross_entropy(logits, torch.full((1, 2, 2), 255))
    nothing.backward()
    assert float(nothing) == 0.0 and float(logits.grad.abs().sum()) == 0.0


def pair_window(**fields: torch.Tensor) -> Window:
    return Window(frames=tensor(1, 2, 3, 8, 8), flow_to_prev=torch.zeros(1, 1, 2, 8, 8), **fields)


def test_supervised_objective_adds_its_parts():
    window = pair_window(labels=torch.stack([torch.full((1, 8, 8), 255), torch.ones(1, 8, 8).long()], 1))
    outputs = Outputs(tensor(1, 2, 4, 8, 8))
    losses = supervised(0.5, 0.4)(outputs, window)
    expected_tc = temporal_consistency(
        outputs.logits[:, 1], outputs.logits[:, 0], window.frames[:, 1], window.frames[:, 0], window.flow_to_prev[:, 0]
    )
    assert float(losses["tc"]) == pytest.approx(float(expected_tc))
    assert float(losses["total"]) == pytest.approx(float(losses["ce"]) + 0.5 / 4 * float(losses["tc"]), rel=1e-6)
    assert set(supervised(0.0, 0.4)(outputs, window)) == {"ce", "total"}


def test_auxiliary_logits_enter_with_their_weight():
    window = Window(frames=tensor(1, 1, 3, 8, 8), labels=torch.ones(1, 1, 8, 8).long())
    losses = supervised(0.5, 0.4)(Outputs(tensor(1, 1, 4, 8, 8), tensor(1, 1, 4, 8, 8)), window)
    assert float(losses["total"]) == pytest.approx(float(losses["ce"] + 0.4 * losses["auxiliary"]), rel=1e-6)


def test_an_auxiliary_head_of_no_weight_learns_nothing():
    window = Window(frames=tensor(1, 1, 3, 8, 8), labels=torch.ones(1, 1, 8, 8).long())
    logits, auxiliary = (tensor(1, 1, 4, 8, 8).requires_grad_() for _ in range(2))
    losses = supervised(0.5, 0.0)(Outputs(logits, auxiliary), window)
    losses["total"].backward()
    # no gradient at all: the optimiser would let weights decay that have one of zero
    assert set(losses) == {"ce", "total"} and logits.grad.any() and auxiliary.grad is None


def test_distilled_objective_sums_kl_over_both_frames():
    teacher = tensor(1, 2, 4, 2, 2)
    outputs, window = Outputs(tensor(1, 2, 4, 8, 8)), pair_window(teacher=teacher)
    losses = distilled(0.25, 2.0)(outputs, window)
    both = sum(distillation(outputs.logits[:, k], teacher[:, k], 2.0) for k in range(2))
    assert float(losses["total"]) == pytest.approx(float(both + 0.25 / 4 * losses["tc"]), rel=1e-5)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0.5, 2.0, 8.0])])
def test_distillation_beside_the_truth_of_labelled_frames(weights):
    teacher, labels = tensor(1, 2, 4, 8, 8), torch.full((1, 2, 8, 8), 255)
    labels[:, 1, :4] = 3
    outputs, window = Outputs(tensor(1, 2, 4, 8, 8)), pair_window(teacher=teacher, labels=labels)
    losses = distilled(0.0, 1.0, weights, truth_weight=0.5)(outputs, window)
    log_p = torch.log_softmax(outputs.logits[0, 1], 0)[3, :4]
    truth = -log_p.mean() * (1.0 if weights is None else 8.0)
    alone = distilled(0.0, 1.0, weights)(outputs, window)
    assert float(losses["total"]) == pytest.approx(float(alone["total"] + 0.5 * truth), rel=1e-5)
    assert set(alone) == {"kl", "total"}


def test_class_weights_of_the_divergence_are_those_that_the_teacher_expects():
    student, teacher, weights = tensor(1, 3, 2, 2), tensor(1, 3, 2, 2), torch.tensor([1.0, 2.0, 9.0])
    q, p = (np.exp(each.numpy()) / np.exp(each.numpy()).sum(1, keepdims=True) for each in (teacher, student))
    expected = ((q * np.log(q / p)).sum(1) * (q[0].transpose(1, 2, 0) @ weights.numpy())).mean()
    assert float(distillation(student, teacher, 1.0, weights)) == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_make_classes_count_alike():
    shares = [0.7, 0.2, 0.1, 0.0]
    weights = balanced_weights(shares, 1.0)
    contributions = weights * torch.tensor(shares)
    torch.testing.assert_close(contributions, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.0]))
    assert weights[3] == 0, "a class that no label shows"
    torch.testing.assert_close(balanced_weights(shares[:3], 0.0), torch.ones(3))


@pytest.mark.parametrize("limit", [1.0, 3.0, 10.0, 1e9])
def test_no_class_weighs_more_than_the_limit(limit):
    shares = np.array([0.5, 0.3, 0.15, 0.049999, 1e-6, 0.0])
    weights = balanced_weights(shares.tolist(), 1.0, limit).double().numpy()
    # whatever is below the limit is one number by the class's share; that number is found by bisection
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        total = sum(share * min(limit, middle / share) for share in shares if share)
        low, high = (middle, high) if total < 1 else (low, middle)
    expected = [min(limit, low / share) if share else 0.0 for share in shares]
    np.testing.assert_allclose(weights, expected, rtol=1e-3)
    assert float(weights @ shares) == pytest.approx(1.0, rel=1e-5)


def test_class_weights_weigh_pixels_by_label_and_by_teacher():
    logits, weights = torch.randn(1, 3, 2, 2), torch.tensor([0.5, 1.0, 4.0])
    labels = torch.tensor([[[0, 2], [1, 255]]])
    log_probs = logits.log_softmax(1)
    expected = -(0.5 * log_probs[0, 0, 0, 0] + 4 * log_probs[0, 2, 0, 1] + log_probs[0, 1, 1, 0]) / 3
    torch.testing.assert_close(cross_entropy(logits, labels, class_weights=weights), expected)
    sure = torch.full((1, 3, 2, 2), -50.0)
    sure[:, 2] = 50
    plain = distillation(logits, sure, 1.0)
    torch.testing.assert_close(distillation(logits, sure, 1.0, weights), 4 * plain)
    window = Window(torch.zeros(1, 1, 3, 2, 2), labels=labels[None])
    losses = supervised(0.0, 0.0, weights)(Outputs(logits[:, None]), window)
    torch.testing.assert_close(losses["total"], expected)
