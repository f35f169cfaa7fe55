"""Keys of artefacts: a changed line makes stale what it makes and nothing else, a changed docstring nothing at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest

from sspcore.core import code
from sspcore.models.systems import METHOD_MODULES, METHODS, SYSTEMS, build
from sspcore.study.keys import Keys
from sspcore.study.profiles import load_profile

Change = Callable[[str, Callable[[str], str]], None]
ALL_SYSTEMS = {name for name in SYSTEMS if name not in ("SegFormer-b2", "SegFormer-b3", "ConvNeXt-S + UPerNet", "TCB_ocr")}


def found(**overrides: object) -> dict[str, str]:
    """Keys by "kind" or "kind of system"."""
    keys = Keys(load_profile("smoke", overrides), 0, lambda dataset: ["release"])
    of_systems = {
        f"{kind} {name}": getattr(keys, kind)(name, "uavid")
        for name in ALL_SYSTEMS for kind in ("training", "predictions", "scores")
    }
    labels = {name: keys.labels("uavid", fused) for name, fused in (("labels", False), ("fused labels", True))}
    return of_systems | labels | {"clips": keys.clips("uavid"), "flow": keys.motion("uavid", "flow")}


@pytest.fixture
def change(monkeypatch) -> Change:
    """Let a module have another text, made from its own by a function."""
    real = code.source

    def rewrite(module: str, edit: Callable[[str], str]) -> None:
        assert edit(real(module)) != real(module), f"{module} is as it was: take another line of it"
        monkeypatch.setattr(code, "source", lambda name: edit(real(name)) if name == module else real(name))
        clear()

    def clear() -> None:
        for cached in (code.code_key, code.library_key):
            cached.cache_clear()

    clear()
    yield rewrite
    clear()


def changed(before: dict[str, str]) -> set[str]:
    return {name for name, key in found().items() if before[name] != key}


def behind(*systems: str) -> set[str]:
    """All that comes from the training of these systems."""
    return {f"{kind} {name}" for name in systems for kind in ("training", "predictions", "scores")}


TRAININGS = behind(*ALL_SYSTEMS)
DISTILLED = behind("KD Base", "KD-SSP", "KD-SSP-R")
LABELS = {"labels", "fused labels"}


@pytest.mark.parametrize("module, old, new, stale", [
    ("sspcore.training.losses", "temperature**2", "temperature**3", TRAININGS | LABELS),
    ("sspcore.data.photometric", "(np.arange(256) / 255)", "(np.arange(256) / 256)", TRAININGS | LABELS),
    ("sspcore.models.dff", "return", "pass; return", behind("DFF")),
    ("sspcore.motion.raft", "TRAINED_UPDATES = 8", "TRAINED_UPDATES = 9", TRAININGS | LABELS | {"flow"}),
    ("sspcore.models.netwarp", "nn.ReLU", "nn.GELU", behind("NetWarp")),
    ("sspcore.models.similarity", "nn.ReLU", "nn.GELU", behind("SSP", "SSP-R", "KD-SSP", "KD-SSP-R")),
    ("sspcore.models.interface", "mode=\"bicubic\"", "mode=\"bilinear\"", TRAININGS | LABELS),
    ("sspcore.models.systems", "torch.channels_last", "torch.contiguous_format", TRAININGS | LABELS),
    ("sspcore.models.systems", "DFF(image, ", "DFF(image, 7, ", behind("DFF")),
    ("sspcore.training.distill", "antialias=True", "antialias=False", LABELS | DISTILLED),
    ("sspcore.training.fusion", "(2 - hidden)", "(3 - hidden)", {"fused labels"} | behind("KD-SSP", "KD-SSP-R")),
    ("sspcore.motion.cuts", "CUT_CORRELATION = 0.5", "CUT_CORRELATION = 0.6",
     {name for name in TRAININGS if not name.startswith("training")}),
    ("sspcore.metrics.confusion", "return", "pass; return", {name for name in TRAININGS if name.startswith("scores")}),
    ("sspcore.export.bundle", "return", "pass; return", set()),
    ("sspcore.models.hub", "return", "pass; return", set()),  # how a system is saved, not what it computes
    ("sspcore.core.progress", "plain", "plainer", set()),
    ("sspcore.study.stages", "names = row_names", "names = pass_ = row_names", set()),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_changed_line_makes_stale_what_it_makes(change, module, old, new, stale):
    before = found()
    change(module, lambda text: text.replace(old, new))
    assert changed(before) == stale


def test_preparation_is_behind_everything(change):
    before = found()
    change("sspcore.data.prepare", lambda text: text.replace("n_frames", "frames"))
    assert changed(before) == before.keys()


@pytest.mark.parametrize("module", [
    "sspcore.training.losses", "sspcore.models.ssp", "sspcore.models.systems", "sspcore.data.samples", "sspcore.data.prepare",
])
def test_a_changed_docstring_or_comment_changes_nothing(change, module):
    before, library = found(), code.library_key()
    for place, text in ((r'(?m)^( *""")(?=.)', r"\1Now: "), (r"(?m)^( *)return", r"\1# a remark\n\n\1return")):
        change(module, partial(re.sub, place, text))
        assert changed(before) == set() and code.library_key() == library


def test_every_method_has_its_module():
    assert METHODS.keys() == METHOD_MODULES.keys() and all(map(code.source, METHOD_MODULES.values()))


def test_a_flow_that_learns_concerns_only_those_who_use_flow():
    before = found()
    stale = {name for name, key in found(train_flow=True).items() if before[name] != key}
    assert stale == behind("DFF", "NetWarp")
    before = found(train_flow=True)
    other = found(**{"train_flow": True, "conventions.raft_input": "imagenet"})
    assert {name for name, key in other.items() if before[name] != key} == behind("DFF", "NetWarp")


def test_fusion_of_labels_concerns_only_those_who_read_fused_ones():
    before = found()
    for setting in ({"conventions.occlusion": "same-pixel"}, {"fuse_teacher": False}):
        stale = {name for name, key in found(**setting).items() if before[name] != key} - {"fused labels"}
        assert stale == behind("KD-SSP", "KD-SSP-R")


def test_equal_steps_change_what_starts_elsewhere_and_what_comes_of_it():
    before, after = found(), found(equal_steps=False)
    same = {"Teacher", "Base (start)"} | {"labels", "fused labels", "clips", "flow"}
    assert {name for name in before if before[name] == after[name]} == {name for name in before if name in same or any(
        name == f"{kind} {system}" for kind in ("training", "predictions", "scores") for system in same
    )}


def test_registered_crops_change_trainings():
    before, after = found(), found(register_crops=True)
    assert {name for name in before if before[name] != after[name]} == TRAININGS | LABELS




def test_the_size_of_the_teachers_row_changes_nothing_else():
    before, after = found(), found(score_teacher_at="teacher_size")
    assert {name for name in before if before[name] != after[name]} == {"predictions Teacher", "scores Teacher"}


def test_augmentation_concerns_the_systems_that_see_such_windows():
    before = found()
    video, images = (behind(*(n for n in ALL_SYSTEMS if SYSTEMS[n].kind == kind)) for kind in ("video", "image"))

    def stale(part: str) -> set[str]:
        setting = {f"augmentation.{part}.flip.probability": 0.4}
        return {name for name, key in found(**setting).items() if before[name] != key}

    assert stale("windows") == video
    assert stale("images") >= images | LABELS


def test_the_order_of_augmentation_is_part_of_the_key():
    steps = load_profile("smoke").model_dump(mode="json")["augmentation"]["windows"]
    turned = {name: steps[name] for name in reversed(steps)}
    assert found(**{"augmentation.windows": turned})["training SSP"] != found()["training SSP"]


@pytest.mark.parametrize("name", sorted(ALL_SYSTEMS))
def test_a_key_takes_the_augmentation_that_training_takes(name):
    """By a system's kind, where training goes by its model's window."""
    window = build(name, 3, load_profile("smoke"), load_weights=False).window
    assert (window == 1) == (SYSTEMS[name].kind == "image")
