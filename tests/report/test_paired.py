"""Paired differences: against a loop over draws written here, words and cells, and what is compared."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sspcore.report import paired

SEEDS, CLIPS, CLASSES = 2, 5, 3  # each clip a sequence of its own, but where said


def scored(quality: float, hard: np.ndarray, seed: int = 0) -> list[list[dict]]:
    """Seeds of clips; a hard clip is hard for every system."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(SEEDS):
        clips = []
        for k in range(CLIPS):
            counts = rng.integers(0, 20, (CLASSES, CLASSES + 1))
            counts[range(CLASSES), range(CLASSES)] += int(400 * quality * hard[k])
            clips.append({"counts": counts.tolist(), "tc": quality * hard[k], "tc_exact_flow": None})
        found.append(clips)
    return found


HARD = np.array([1.0, 0.9, 0.3, 0.6, 0.8])
BASE, OURS = scored(0.6, HARD), scored(0.7, HARD, seed=1)
of_seeds, of_clips = paired.draws(SEEDS, CLIPS)


def by_hand(new: list, old: list, score: str, draw: int) -> float:
    """The difference of one draw, clip by drawn clip and seed by drawn seed."""
    def one(clips: list) -> float:
        drawn = [clip for clip, times in zip(clips, of_clips[draw], strict=True) for _ in range(times)]
        if score == "tc":
            return float(np.mean([clip["tc"] for clip in drawn]))
        total = sum(np.array(clip["counts"]) for clip in drawn)
        ious = [
            total[c, c] / (total[c].sum() + total[:, c].sum() - total[c, c])
            for c in ([2] if score == "miou_moving" else range(CLASSES))
        ]
        return sum(ious) / len(ious)

    drawn = [k for k, times in enumerate(of_seeds[draw]) for _ in range(times)]
    return float(np.mean([one(new[k]) - one(old[k]) for k in drawn]))


@pytest.mark.parametrize("score", ["miou", "miou_moving", "tc"])
def test_interval_is_that_of_a_loop_over_draws(score):
    new, old = (paired.resampled(clips, of_clips, moving=[2])[score] for clips in (OURS, BASE))
    assert (of_seeds[0] == 1).all() and (of_clips[0] == 1).all()
    assert (of_seeds.sum(1) == SEEDS).all() and (of_clips.sum(1) == CLIPS).all() and len(of_clips) == paired.DRAWS + 1
    found = paired.interval(new - old, of_seeds)
    assert found["difference"] == pytest.approx(by_hand(OURS, BASE, score, 0))
    by_draw = [by_hand(OURS, BASE, score, draw) for draw in range(1, len(of_clips))]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.percentile(by_draw, [2.5, 97.5])))
    if score == "tc":  # of one system alone: it does not know that hard clips are hard for both
        alone = paired.interval(new, of_seeds)
        assert alone["high"] - alone["low"] > 2 * (found["high"] - found["low"])


def test_a_system_does_not_differ_from_itself_and_a_class_that_is_nowhere_is_left_out():
    clips = scored(0.6, HARD)
    for clip in (clip for seed in clips for clip in seed):
        clip["counts"] = [[*line[:3], 0, line[3]] for line in clip["counts"]] + [[0] * 5]
    found, before = paired.resampled(clips, of_clips), paired.resampled(BASE, of_clips)
    assert found["miou"] == pytest.approx(before["miou"]) and "miou_moving" not in found and "tc_exact_flow" not in found
    same = paired.interval(before["miou"] - before["miou"], of_seeds)
    assert same == {"difference": 0, "low": 0, "high": 0} and paired.verdict(same) == "not told apart"


def test_what_no_draw_can_score_has_no_interval_and_no_word():
    still = [[clip | {"tc": None if k else 0.5} for k, clip in enumerate(seed)] for seed in BASE]
    tc = paired.resampled(still, of_clips)["tc"]
    assert tc[0, 0] == 0.5 and np.isnan(tc).any()  # of a draw without that clip
    nothing = paired.interval(np.full(tc.shape, np.nan), of_seeds)
    assert nothing["low"] is None and paired.verdict(nothing) is None and paired.cell(nothing) == paired.cell(None) == "–"


def study_of(sequences: list[str], of_clips: dict[str, list[dict]]) -> SimpleNamespace:
    """A study of clips of these sequences, scored by hand."""
    return SimpleNamespace(
        counts=lambda name, dataset: of_clips[name], spec=lambda dataset: SimpleNamespace(moving_ids=(2,)),
        clips=lambda dataset, split: [SimpleNamespace(sequence=name) for name in sequences],
    )


def test_clips_of_one_sequence_are_drawn_together():
    """Every clip twice: the same intervals as with one clip a sequence, since the same said twice says no more."""
    names = ["d", "a", "e", "b", "c"]
    alone, doubled = (
        paired.differences(
            [study_of(names * times, {"Base": BASE[k] * times, "SSP": OURS[k] * times}) for k in range(SEEDS)],
            ["uavid"], [("SSP", "Base")],
        )[0] for times in (1, 2)
    )
    assert doubled["sequences"] == alone["sequences"] == 5
    for score in ("miou", "miou_moving", "tc"):
        assert doubled[score] == pytest.approx(alone[score])
    assert doubled["tc"]["low"] < doubled["tc"]["difference"] < doubled["tc"]["high"]


def test_of_few_sequences_there_is_a_difference_and_no_interval():
    clips = {name: [scores[0][0]] * 8 for name, scores in (("Base", BASE), ("SSP", OURS))}
    (row,) = paired.differences([study_of(["a", "b", "c", "d"] * 2, clips)], ["uavid"], [("SSP", "Base")])
    assert row["tc"] == {"difference": pytest.approx(0.1), "low": None, "high": None} and "tc_exact_flow" not in row
    assert paired.cell(row["tc"]) == "+10.00" and paired.verdict(row["tc"]) is None
    assert paired.in_words([row], {"uavid": "UAVid"})["SSP against Base, UAVid"]["TC"] == "+10.00: no interval"
    assert list(paired.in_words([row])) == ["SSP against Base"]  # of one data set, which is not named
    with pytest.raises(ValueError, match="titles"):
        paired.in_words([row, row | {"dataset": "ruralscapes"}])


@pytest.mark.parametrize("low, high, word, cell", [
    (0.01, 0.03, "better", "**+2.00** [+1.00, +3.00]"), (-0.01, 0.03, "not told apart", "+2.00 [−1.00, +3.00]"),
    (0.0, 0.03, "not told apart", "+2.00 [+0.00, +3.00]"),
    (0.00003, 0.03, "better", "**+2.000** [+0.003, +3.000]"),  # an end that is not 0 is not printed as 0
])
def test_words_follow_the_interval(low, high, word, cell):
    found = {"difference": 0.02, "low": low, "high": high}
    assert (paired.verdict(found), paired.cell(found)) == (word, cell)
    mirrored = {"difference": -0.02, "low": -high, "high": -low}
    assert paired.verdict(mirrored) == ("worse" if word == "better" else word)


def test_height_above_the_curve_is_worked_out_draw_by_draw():
    curve = [{"tc": np.array([[0.7], [0.6]]), "miou": np.array([[0.5], [0.5]])},
             {"tc": np.array([[0.9], [0.8]]), "miou": np.array([[0.3], [0.5]])}]
    own = {"tc": np.array([[0.8], [0.7]]), "miou": np.array([[0.5], [0.45]])}
    assert paired._above(curve, own).ravel() == pytest.approx([0.1, -0.05])
    assert np.isnan(paired._above(curve, {"miou": own["miou"]})).all(), "of stills there is no TC"


def test_pairs_are_those_of_the_claims_and_of_systems_that_are_there():
    assert paired.pairs_of(["Base", "SSP", "DFF", "Constant alpha 0.5"]) == [("SSP", "Base"), ("DFF", "Base"), ("SSP", "DFF")]
    pairs = paired.pairs_of(["Teacher", "Base", "KD Base", "SSP", "KD-SSP"])
    assert {("KD-SSP", "KD Base"), ("KD-SSP", "Teacher"), ("KD-SSP", "SSP"), ("KD-SSP", "Base")} <= set(pairs)
    assert len(pairs) == len(set(pairs))


def test_the_caption_says_what_was_drawn():
    rows = [{"dataset": name, "old": "Base", "sequences": 6, "seeds": 1} for name in ("uavid", "ruralscapes")]
    text = paired.note(rows)
    assert "(6 and 6)" in text and "95 %" in text and "knows nothing of other seeds" in text and "curve" not in text
    assert "at equal TC" in paired.note([*rows, rows[0] | {"old": paired.CURVE}])
    assert "the 3 training seeds" in paired.note([row | {"seeds": 3} for row in rows])
