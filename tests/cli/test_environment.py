"""The lock, pyproject.toml and environment.yml agree, and the doctor sees what departs from them."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sspcore.cli import doctor
from sspcore.cli.main import main
from sspcore.motion import weights as motion_weights

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10.14", "3.11.14", "3.12.11", "3.13.7")
PLATFORMS = {"linux": ("posix", "x86_64", "Linux"), "darwin": ("posix", "arm64", "Darwin")}


def locked(python: str, platform: str = "linux") -> dict[str, Requirement]:
    """The pins of requirements.lock that apply to one Python and platform, by canonical name."""
    os_name, machine, system = PLATFORMS[platform]
    environment = {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "sys_platform": platform,
        "os_name": os_name,
        "platform_machine": machine,
        "platform_system": system,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    pins: dict[str, Requirement] = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in pins, f"two pins of {name} apply to Python {python} on {platform}"
            pins[name] = pin
    return pins


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==" and "*" not in specifier.version, f"{pin} is no exact pin"
    return specifier.version


def pyproject() -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def direct_dependencies() -> list[Requirement]:
    """The library's own requirements and those of its extra `test`, from pyproject.toml."""
    project = pyproject()["project"]
    return [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["test"]]


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_pins_every_direct_dependency_within_its_range(python: str, platform: str) -> None:
    pins = locked(python, platform)
    for wanted in direct_dependencies():
        name = canonicalize_name(wanted.name)
        assert name in pins, f"{name} is not in the lock for Python {python} on {platform}"
        assert wanted.specifier.contains(version_of(pins[name])), f"{pins[name]} is outside {wanted}"


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_keeps_out_what_breaks_or_is_unmaintained(python: str) -> None:
    pins = locked(python)
    unwanted = {"albumentations", "fvcore", "lightning", "pytorch-lightning", "opencv-python", "opencv-contrib-python"}
    assert not unwanted & set(pins)
    major = {name: tuple(int(part) for part in version_of(pins[name]).split(".")[:2])
             for name in ("opencv-python-headless", "pytest", "torch", "torchvision")}
    assert major["opencv-python-headless"] < (5, 0), "OpenCV 5 has no AKAZE"
    assert major["pytest"] < (9, 1), "nbval's reporter breaks on pytest 9.1"
    # torchvision 0.(n + 15) is built for torch 2.n; one torchvision may serve the next torch too.
    assert major["torchvision"][1] - major["torch"][1] in (14, 15), "torch and torchvision are no matching pair"


def test_environment_yml_has_the_pins_of_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "sspcore"
    (python,) = (entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    (packages,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert "--constraint requirements.lock" in packages
    listed = [Requirement(text) for text in packages if not text.startswith("--")]
    pins = locked(python.removeprefix("python=") + ".14")
    assert {canonicalize_name(pin.name): version_of(pin) for pin in listed} == {
        name: version_of(pins[name]) for name in (canonicalize_name(wanted.name) for wanted in direct_dependencies())
    }


def test_doctor_is_imported_and_compares_pins_without_torch() -> None:
    script = "import sys; sys.modules['torch'] = None; from sspcore.cli import doctor; list(doctor.pin_problems())"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def pins_file(folder: Path, text: str) -> Path:
    file = folder / "requirements.lock"
    file.write_text(text, encoding="utf-8")
    return file


def test_doctor_names_each_pin_that_is_not_met(tmp_path: Path) -> None:
    pins = ("# comment", "right==1.0", "older==2.0", "absent==3.0", "elsewhere==4.0 ; sys_platform == 'none'")
    lock = pins_file(tmp_path, "\n".join(pins))
    problems = list(doctor.pin_problems(lock, {"right": "1.0", "older": "1.9"}.get))
    assert len(problems) == 2
    assert problems[0].startswith("older: 1.9, the lock pins ==2.0")
    assert problems[1].startswith("absent: not installed")


def test_doctor_accepts_another_build_of_torch_without_the_cuda_packages(tmp_path: Path) -> None:
    lock = pins_file(tmp_path, "torch==2.15.0\nnvidia-nccl-cu13==1.0\ntriton==3.0\n")
    assert list(doctor.pin_problems(lock, {"torch": "2.15.0+cpu"}.get)) == []
    assert len(list(doctor.pin_problems(lock, {"torch": "2.15.0"}.get))) == 2
    assert len(list(doctor.pin_problems(lock, {"torch": "2.14.0+cpu"}.get))) == 1


def test_doctor_accepts_onnxruntime_s_build_for_gpus_in_place_of_the_usual_one(tmp_path: Path) -> None:
    lock = pins_file(tmp_path, "onnxruntime==1.32.0\n")
    assert list(doctor.pin_problems(lock, {"onnxruntime-gpu": "1.32.0"}.get)) == []
    (older,) = doctor.pin_problems(lock, {"onnxruntime-gpu": "1.31.0"}.get)
    assert older.startswith("onnxruntime: 1.31.0, the lock pins ==1.32.0")


@pytest.mark.parametrize("name", doctor.EXTRAS)
def test_pins_of_an_extra_are_those_of_pyproject(name: str) -> None:
    """Each requirement of the extra has a pin within its range; packages that are taken for their files alone have none."""
    lines = doctor.EXTRAS[name].read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for wanted in map(Requirement, pyproject()["project"]["optional-dependencies"][name]):
        found = [pin for pin in pins if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
        assert found and all(wanted.specifier.contains(version_of(pin)) for pin in found), f"{wanted} has no fitting pin"


def test_doctor_reports_a_damaged_or_missing_lock(tmp_path: Path) -> None:
    (damaged,) = doctor.pin_problems(pins_file(tmp_path, "right==1.0\n<<<<<<< HEAD\n"), {"right": "1.0"}.get)
    assert "line 2" in damaged
    (missing,) = doctor.pin_problems(tmp_path / "absent.lock")
    assert "absent.lock" in missing


def test_an_extra_is_asked_for_where_it_is_wanted_or_half_there(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[str, str] = {}
    monkeypatch.setattr(doctor, "installed_version", there.get)
    monkeypatch.setattr(doctor.pin_problems, "__defaults__", (doctor.LOCK, there.get, "run ./reproduce.sh setup"))
    assert list(doctor.extra_problems("lightglue", wanted=False)) == []
    assert len(list(doctor.extra_problems("lightglue", wanted=True))) == 3
    there["kornia-rs"] = "0.2.0"
    half = list(doctor.extra_problems("lightglue", wanted=False))
    assert len(half) == 2 and all(line.endswith("run ./reproduce.sh setup --extra lightglue") for line in half)


def installed_package(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], files: list[Path]) -> None:
    """The package outside a checkout, all sound but for the extra `lightglue`."""
    monkeypatch.setattr(doctor, "IN_CHECKOUT", False)
    monkeypatch.setattr(doctor, "installed_version", versions.get)
    monkeypatch.setattr(doctor.packaged_extra_problems, "__defaults__", (versions.get,))
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: [
        "numpy>=1", 'kornia<0.9,>=0.8; extra == "lightglue"', 'pytest>=8; extra == "test"',
    ])
    monkeypatch.setattr(motion_weights, "lightglue_files", lambda: files)
    monkeypatch.setattr(motion_weights, "check_lightglue", lambda path: "0123")


@pytest.mark.parametrize(("versions", "files", "asked"), [
    ({}, [], "kornia: not installed, the extra lightglue asks for <0.9,>=0.8: pip install 'kornia<0.9,>=0.8'"),
    ({"kornia": "0.9.1"}, [Path("disk.pth")], "kornia: 0.9.1, the extra lightglue asks for <0.9,>=0.8"),
    ({"kornia": "0.8.2"}, [], "lightglue: kornia is there, its weights are not"),
    ({"kornia": "0.8.2"}, [Path("disk.pth")], None),
])
def test_doctor_of_an_installed_package_checks_the_extra_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], versions: dict[str, str], files: list[Path],
    asked: str | None,
) -> None:
    installed_package(monkeypatch, versions, files)
    assert main(["doctor", "--extra", "lightglue"]) == int(asked is not None)
    printed = capsys.readouterr().out
    assert ("environment: sound" in printed) == (asked is None) and (asked or "lightglue: disk.pth, SHA-256 0123") in printed
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "environment: sound" in printed and "providers of sspcore stream --bundle: cpu (onnxruntime " in printed


def test_weights_without_kornia_are_a_problem_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_version", {}.get)
    assert doctor.lightglue_lines(wanted=False) == ([], [])
    known, (problem,) = doctor.lightglue_lines(wanted=True)
    assert known == [] and problem.startswith("lightglue: kornia is not installed: run ./reproduce.sh setup")


@pytest.mark.parametrize("error", [
    RuntimeError("operator torchvision::nms does not exist\nmore lines"),
    OSError("_C.so: undefined symbol: _ZN2at4_ops"),
    ImportError("cannot import name 'x' from 'torch'"),
])
def test_doctor_explains_a_mismatched_torchvision_in_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(name: str) -> types.ModuleType:
        if name.startswith("torchvision"):
            raise error
        return types.ModuleType(name)

    monkeypatch.setattr(importlib, "import_module", load)
    (problem,) = doctor.torch_problems()
    assert "no matching pair" in problem and "--force-reinstall" in problem and "\n" not in problem
    assert str(error).splitlines()[0] in problem


def test_doctor_explains_a_torch_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> types.ModuleType:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", load)
    (problem,) = doctor.torch_problems()
    assert problem.startswith("torch does not load (libcudart.so.13")


@pytest.mark.parametrize(
    ("version", "has_akaze", "problems"), [("4.14.0", True, 0), ("5.0.0", True, 1), ("4.14.0", False, 1)]
)
def test_doctor_wants_an_opencv_with_akaze(
    monkeypatch: pytest.MonkeyPatch, version: str, has_akaze: bool, problems: int
) -> None:
    module = types.SimpleNamespace(__version__=version)
    if has_akaze:
        module.AKAZE_create = object
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    assert len(list(doctor.opencv_problems())) == problems


def test_doctor_finds_nothing_wrong_with_the_compiled_parts_of_this_environment() -> None:
    assert list(doctor.torch_problems()) == []
    assert list(doctor.opencv_problems()) == []


def test_doctor_exits_with_1_and_one_line_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "extra_problems", lambda name, wanted: iter(["kornia: asked for"] if wanted else []))
    monkeypatch.setattr(doctor, "lightglue_lines", lambda wanted: (["lightglue: a file"], []))
    monkeypatch.setattr(doctor, "pin_problems", lambda: iter(["a: wrong", "b: wrong"]))
    assert main(["doctor", "--pins"]) == 1
    assert capsys.readouterr().out == "a: wrong\nb: wrong\n"
    monkeypatch.setattr(doctor, "pin_problems", lambda: iter([]))
    assert main(["doctor", "--pins"]) == 0
