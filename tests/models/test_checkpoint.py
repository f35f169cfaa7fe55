"""Checkpoints: a model comes back as it was, and every way that a folder can be wrong is reported in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import segmentation_models_pytorch as smp
import torch
from huggingface_hub import hub_mixin
from safetensors.torch import load_file, save_file

from helpers.media import SIZE
from sspcore import __version__
from sspcore.core.classes import ClassSpec
from sspcore.core.conventions import Conventions
from sspcore.core.errors import ArtefactError, ProfileError, SspError
from sspcore.core.types import Motion
from sspcore.data.datasets import UAVID
from sspcore.models import DFF, SSP, SSPOptions, checkpoint, create_model, wrap
from sspcore.models.checkpoint import (
    CARD,
    CONFIG,
    WEIGHTS,
    CheckpointConfig,
    build_model,
    load_checkpoint,
    read_config,
    save_checkpoint,
    system_config,
)
from sspcore.models.description import CustomSpec
from sspcore.models.spec import Gate, ImageModelSpec
from sspcore.models.systems import SYSTEMS
from sspcore.motion.raft import RAFT

TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=16, weights="none")
CLASSES = ClassSpec("mine", "My classes", ("road", "car"), ((9, 9, 9), (200, 0, 0)), ("car",))


def config_of(name: str = "SSP", **more) -> CheckpointConfig:
    return system_config(name, TINY, CLASSES, SIZE, recurrent_window=3, **more)


def streamed(model) -> torch.Tensor:
    """Logits of the second frame of a stream of two."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(2, 1, 3, *SIZE, generator=generator)
    flow, matches = torch.full((1, 2, *SIZE), 0.5), torch.tensor([[[1.0, 1.0, 1.0], [SIZE[1] - 2, 1.0, 0.0]]])
    with torch.inference_mode():
        _, state = model.step(frames[0], None)
        return model.step(frames[1], state, Motion(torch.eye(3)[None], flow, matches))[0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "ssp", build_model(config_of()), config_of())


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "ssp"))


@pytest.mark.parametrize("name", [*SYSTEMS, "Constant alpha 0.3", "SSP (cosine similarity)"])
def test_every_system_comes_back_as_it_was(name, tmp_path):
    torch.manual_seed(0)
    config = config_of(name)
    model = build_model(config).eval()
    save_checkpoint(tmp_path / "new", model, config)
    loaded, found = load_checkpoint(tmp_path / "new")
    assert found == config == loaded.config and not loaded.training
    assert type(loaded) is type(model) and loaded.window == model.window
    assert loaded.window == (3 if "SSP-R" in name else {"image": 1, "tcb_ppm": 4, "tcb_ocr": 4}.get(found.method, 2))
    assert torch.equal(streamed(loaded), streamed(model))


@pytest.mark.parametrize("name", ["DFF", "NetWarp"])
def test_a_raft_of_its_own_comes_back_with_it(name, tmp_path):
    config = config_of(name, train_flow=True)
    model = build_model(config).eval()
    assert checkpoint.config_of(model) == config
    del model.config
    assert checkpoint.config_of(model, input_size=SIZE, classes=CLASSES).train_flow
    save_checkpoint(tmp_path / "new", model, config)
    loaded, found = load_checkpoint(tmp_path / "new")
    assert found == config and torch.equal(streamed(loaded), streamed(model))
    assert sum(key.startswith("raft.") for key in loaded.state_dict()) > 100


def test_a_raft_of_its_own_is_for_those_who_use_flow():
    with pytest.raises(ValueError, match="train_flow: method ssp uses no flow"):
        config_of("SSP", train_flow=True)


def test_half_precision_keeps_vectors_and_loads_as_float32(tmp_path):
    torch.manual_seed(0)
    config = config_of()
    model = build_model(config)
    save_checkpoint(tmp_path / "new", model, config, half=True)
    stored, loaded = load_file(tmp_path / "new" / WEIGHTS), load_checkpoint(tmp_path / "new")[0].state_dict()
    for key, value in model.state_dict().items():
        halved = value.is_floating_point() and value.ndim > 1
        assert stored[key].dtype == (torch.float16 if halved else value.dtype), key
        assert torch.equal(loaded[key], value.half().float() if halved else value), key


def test_config_of_a_data_set_holds_classes_only(tmp_path):
    config = system_config("Base", TINY, UAVID, SIZE)
    assert type(config.classes) is ClassSpec and config.classes.moving_ids == UAVID.moving_ids
    assert CheckpointConfig.model_validate_json(config.model_dump_json()) == config


def test_model_card_names_classes_size_and_use(saved):
    card = (saved / CARD).read_text()
    assert "| 1 | car | 200, 0, 0 | yes |" in card and f"{SIZE[0]}x{SIZE[1]}" in card and "load_checkpoint" in card
    assert card.startswith("---\nlibrary_name: sspcore\n") and "not stated" in card
    scored = checkpoint.model_card(config_of(scores={"mIoU": 71.5}, licence="Apache-2.0", data="rendered data"))
    assert "| mIoU | 71.5 |" in scored and "license: apache-2.0" in scored and "rendered data" in scored


def test_how_frames_are_resized_comes_back_and_older_checkpoints_mean_area(tmp_path):
    config = config_of(interpolation="bilinear")
    folder = save_checkpoint(tmp_path / "ssp", build_model(config), config)
    assert load_checkpoint(folder)[0].config.interpolation == "bilinear"
    assert 'resized by "bilinear"' in (folder / CARD).read_text() and "RGB, 64x96 pixels" in (folder / CARD).read_text()
    older = json.loads((folder / CONFIG).read_text())
    del older["interpolation"], older["channels"]
    (folder / CONFIG).write_text(json.dumps(older))
    assert load_checkpoint(folder)[0].config.interpolation == "area"


@pytest.mark.parametrize("options, readings", [
    (SSPOptions(), {}),
    (SSPOptions(mask_alpha=False, half_pixel=False, border="zeros"),
     {"past_outside": "zeros", "half_pixel": "dropped", "past_border": "zero-padded"}),
])
def test_options_say_the_conventions_of_a_file_that_has_none(saved, tmp_path, options, readings):
    folder = Path(shutil.copytree(saved, tmp_path / "older"))
    entries = json.loads((folder / CONFIG).read_text()) | {"options": options.model_dump(mode="json")}
    del entries["conventions"]
    (folder / CONFIG).write_text(json.dumps(entries))
    loaded, found = load_checkpoint(folder)
    assert found.conventions == Conventions(**readings) and loaded.options == options
    assert checkpoint.config_of(loaded) == found  # and it can be written again
    del loaded.config
    assert checkpoint.config_of(loaded, input_size=SIZE, classes=CLASSES).conventions == found.conventions


def test_a_system_that_is_what_the_conventions_are_not_says_so():
    """A part switched off by an ablation: its checkpoint says what was built."""
    image = config_of().image_model
    config = system_config("SSP (alpha not masked)", image, UAVID, SIZE, conventions=Conventions(tc="reference"))
    assert config.conventions.slips() == {"past_outside": "zeros", "tc": "reference"} and not config.options.mask_alpha


def change(path: Path, **entries) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def spoil(path: Path, **entries) -> None:
    """Change entries of the weights: None takes one away."""
    state = load_file(path) | entries
    save_file({key: value for key, value in state.items() if value is not None}, path)


BIAS = "image.classifier.bias"
DAMAGE = {
    "no config": (lambda f: (f / CONFIG).unlink(), f"{CONFIG}: file is missing"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), f"{WEIGHTS}: file is missing"),
    "not JSON": (lambda f: (f / CONFIG).write_text("{"), "not readable as JSON"),
    "another tool's": (lambda f: (f / CONFIG).write_text("{}"), "no entry format"),
    "a list": (lambda f: (f / CONFIG).write_text("[1]"), "no entry format"),
    "later format": (
        lambda f: change(f / CONFIG, format=2, written_by="0.9"),
        f"written by sspcore 0.9 in format 2; this is {__version__}, which reads format 1",
    ),
    "unknown entry": (lambda f: change(f / CONFIG, colour=1), "colour: Extra inputs"),
    "unknown interpolation": (lambda f: change(f / CONFIG, interpolation="lanczos"), "interpolation: Input should be 'area'"),
    "BGR": (lambda f: change(f / CONFIG, channels="BGR"), "channels: Input should be 'RGB'"),
    "unknown method": (lambda f: change(f / CONFIG, method="magic"), "method: Input should be"),
    "text for a number": (lambda f: change(f / CONFIG, window="2"), "window: Input should be a valid integer"),
    "odd size": (lambda f: change(f / CONFIG, input_size=[60, 96]), "input_size: 60x96: .*multiples of 32"),
    "colours": (lambda f: change(f / CONFIG, classes=json.loads((f / CONFIG).read_text())["classes"] | {"palette": []}),
                "0 colours for 2 classes"),
    "no options": (lambda f: change(f / CONFIG, options=None), "method ssp needs them"),
    "two readings": (
        lambda f: change(f / CONFIG, conventions={"half_pixel": "dropped"}),
        "conventions: half_pixel is 'dropped', the options say 'kept'; leave the conventions out, or let both agree",
    ),
    "unknown encoder": (
        lambda f: change(f / CONFIG, image_model=TINY.model_dump() | {"encoder": "tu-nothing"}), "encoder 'tu-nothing'"
    ),
    "broken weights": (lambda f: (f / WEIGHTS).write_bytes(b"x" * 99), "not readable as safetensors"),
    "NaN": (lambda f: spoil(f / WEIGHTS, **{BIAS: torch.tensor([1.0, float("nan")])}), f"{BIAS} holds values that are no"),
    "other shape": (lambda f: spoil(f / WEIGHTS, **{BIAS: torch.zeros(3)}),
                    rf"disagree at {BIAS}: expected \(2,\), found \(3,\) \(1 entries differ\)"),
    "entry lost": (lambda f: spoil(f / WEIGHTS, **{BIAS: None}), rf"disagree at {BIAS}: expected \(2,\), found none"),
    "entry too many": (lambda f: spoil(f / WEIGHTS, more=torch.zeros(1)), r"at more: expected no such entry, found \(1,\)"),
    "other classes": (
        lambda f: change(f / CONFIG, classes=json.loads(
            '{"name": "a", "title": "A", "classes": ["x"], "palette": [[1, 2, 3]], "moving": []}'
        )),
        r"disagree at image.classifier.weight: expected \(1, 16, 1, 1\), found \(2, 16, 1, 1\)",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_in_one_line(case, copy):
    damage, problem = DAMAGE[case]
    damage(copy)
    with pytest.raises(Exception, match=problem) as caught:
        load_checkpoint(copy)
    assert isinstance(caught.value, ArtefactError) and "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_missing_folders_files_and_hub_without_network(tmp_path, saved, monkeypatch):
    with pytest.raises(ArtefactError, match="nowhere: folder is missing; give a checkpoint's folder or a hub id"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match="is a file; give the checkpoint's folder"):
        load_checkpoint(saved / WEIGHTS)

    def fetch(source, **options):
        raise OSError("no route\nto host")

    monkeypatch.setattr(checkpoint, "snapshot_download", fetch)
    with pytest.raises(ArtefactError, match="owner/name: no such folder, and it cannot be fetched .*no route to host.*network"):
        load_checkpoint("owner/name")


def test_checkpoint_comes_from_the_hub(saved, monkeypatch):
    asked = []
    monkeypatch.setattr(checkpoint, "snapshot_download", lambda source, **options: asked.append((source, options)) or saved)
    model, _ = load_checkpoint("owner/name", revision="main")
    assert torch.equal(streamed(model), streamed(load_checkpoint(saved)[0]))
    assert asked[0][0] == "owner/name" and asked[0][1]["revision"] == "main" and WEIGHTS in asked[0][1]["allow_patterns"]


def test_files_of_others_stay(tmp_path):
    model = build_model(config_of())
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="mine: holds files already; choose another folder"):
        save_checkpoint(folder, model, config_of())
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    save_checkpoint(folder, model, config_of(), overwrite=True)
    assert {path.name for path in folder.iterdir()} == {"notes.txt", WEIGHTS, CONFIG, CARD}
    with pytest.raises(ArtefactError, match="is a file; a checkpoint is a folder"):
        save_checkpoint(folder / "notes.txt", model, config_of())
    with pytest.raises(ArtefactError, match="cannot be written"):
        save_checkpoint(folder / "notes.txt" / "below", model, config_of())


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    model = build_model(config_of())
    monkeypatch.setattr(checkpoint, "save", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(tmp_path / "new", model, config_of())
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    with torch.no_grad():
        model.image.classifier.bias.fill_(float("inf"))
    with pytest.raises(ArtefactError, match=f"{BIAS} holds values that are no finite numbers"):
        save_checkpoint(tmp_path / "new", model, config_of())
    assert not list(tmp_path.iterdir())


def test_image_model_of_the_user_has_to_be_given(saved, tmp_path):
    config = config_of().model_copy(update={"image_model": CustomSpec(module="mine.Net")})
    model = build_model(config_of())
    save_checkpoint(tmp_path / "new", model, config)
    with pytest.raises(ArtefactError, match="its image model is mine.Net, which sspcore cannot build; .*pass it as image="):
        load_checkpoint(tmp_path / "new")
    again, _ = load_checkpoint(tmp_path / "new", image=build_model(config_of("Base")))
    assert torch.equal(streamed(again), streamed(model.eval()))


def test_a_network_of_a_user_is_saved_and_comes_back(tmp_path):
    torch.manual_seed(0)
    gate = Gate(grid=4, threshold=0.5, reach=1)
    model = SSP(smp.Unet("resnet18", encoder_weights=None, classes=5), SSPOptions(evidence=True, gate=gate)).eval()
    with pytest.raises(ProfileError, match=r"input_size: say which \(height, width\)"):
        model.save_pretrained(tmp_path / "unet")
    with pytest.raises(ProfileError, match="classes: 2 are named, the model has 5"):
        model.save_pretrained(tmp_path / "unet", input_size=SIZE, classes=["a", "b"])
    with pytest.raises(ProfileError, match="input_size: .*multiples of 32"):
        model.save_pretrained(tmp_path / "unet", input_size=(60, 96))
    assert not list(tmp_path.iterdir())
    model.save_pretrained(tmp_path / "unet", input_size=SIZE, classes=["road", "roof", "tree", "car", "lake"], data="mine")
    again = SSP.from_pretrained(str(tmp_path / "unet"))
    assert again.config.classes.classes[3] == "car" and again.options.gate == gate
    assert len(set(again.config.classes.palette)) == 5
    torch.testing.assert_close(streamed(again), streamed(model))  # loaded models are channels last
    again.save_pretrained(tmp_path / "again", system="My SSP")  # what it carries needs no saying
    before = again.config
    with pytest.raises(ArtefactError, match="again"):
        again.save_pretrained(tmp_path / "again", classes=["1", "2", "3", "4", "5"])
    assert again.config == before  # a refusal changes nothing
    assert load_checkpoint(tmp_path / "again")[1] == again.config and again.config.data == "mine"
    with pytest.raises(ArtefactError, match="holds My SSP, a SSP, no DFF; take SSP.from_pretrained"):
        DFF.from_pretrained(tmp_path / "again")
    change(tmp_path / "again" / CONFIG, image_model={"smp": "Magic", "arguments": {}})
    with pytest.raises(ArtefactError, match=r"config.json: image_model.smp: segmentation_models_pytorch \S+ has no 'Magic'"):
        load_checkpoint(tmp_path / "again")


def test_network_of_another_library_needs_image(tmp_path):
    class Net(torch.nn.Sequential):
        pass

    def image():
        torch.manual_seed(0)
        return wrap(Net(torch.nn.Conv2d(3, 4, 4, stride=4), torch.nn.Conv2d(4, 2, 1)), "0", 2)

    model = SSP(image()).eval()
    model.save_pretrained(tmp_path / "net", input_size=SIZE)
    with pytest.raises(ArtefactError, match="Net, which sspcore cannot build; build it and pass it as image="):
        SSP.from_pretrained(tmp_path / "net")
    torch.testing.assert_close(streamed(SSP.from_pretrained(tmp_path / "net", image=image())), streamed(model))


def test_push_to_hub_uploads_the_three_files(monkeypatch):
    pushed = {}

    class Hub:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, private, exist_ok):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id, folder_path, **options):
            files = {path.name for path in folder_path.iterdir()}
            pushed.update(options, repo=repo_id, files=files, config=read_config(folder_path))
            return "address"

    monkeypatch.setattr(hub_mixin, "HfApi", Hub)
    model = SSP(build_model(config_of("Base")))
    with pytest.raises(ProfileError, match="input_size"):
        model.push_to_hub("owner/name")
    assert model.push_to_hub("owner/name", input_size=SIZE, classes=CLASSES, branch="new") == "address"
    assert pushed["files"] == {WEIGHTS, CONFIG, CARD} and pushed["revision"] == "new" and pushed["config"] == model.config

    def offline(self, *arguments, **options):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(Hub, "create_repo", offline)
    with pytest.raises(SspError, match=r"owner/name: not uploaded \(ConnectionError: no route to host\)"):
        model.push_to_hub("owner/name", data="others")
    assert model.config == pushed["config"]  # a failure changes nothing


def test_key_interval_of_dff_is_kept(tmp_path):
    model = DFF(smp.Unet("resnet18", encoder_weights=None, classes=2), key_interval=3)
    model.save_pretrained(tmp_path / "dff", input_size=SIZE)
    assert DFF.from_pretrained(tmp_path / "dff").key_interval == 3


@pytest.mark.parametrize("weights", ["none", "pypi"])
def test_create_model_gives_a_raft_its_weights(weights, monkeypatch):
    loaded = []
    monkeypatch.setattr(RAFT, "load", lambda raft: loaded.append(raft))
    model = create_model("DFF", 2, weights=weights, decoder_channels=16, input_size=SIZE, train_flow=True)
    assert loaded == ([] if weights == "none" else [model.raft])


def test_create_model_carries_its_config(tmp_path):
    model = create_model("SSP-R", ["road", "car"], decoder_channels=16, weights="none", input_size=SIZE, window=4)
    assert model.config.window == model.window == 4 and model.options.classes and model.config.classes.n_classes == 2
    model.save_pretrained(tmp_path / "new")
    assert load_checkpoint(tmp_path / "new")[1] == model.config
    for wrong, problem in (({"name": "SSP-X"}, "'SSP-X' is unknown"), ({"input_size": (60, 96)}, "multiples of 32"),
                           ({"encoder": "resnet0"}, "encoder 'resnet0'"), ({"arch": "unet"}, "arch: Input should be")):
        with pytest.raises(ProfileError, match=problem):
            create_model(**{"name": "SSP", "classes": 2, "weights": "none"} | wrong)
