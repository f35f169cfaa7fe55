"""Where things lie: the package, the checkout, artefacts of a profile, weights, caches.

Whatever a run makes lies in `data/` of the checkout; what is published of it, in `figures/`. Where sspcore is installed as a
package there is no checkout, and one that is read-only or belongs to another user cannot be written: the user's cache folder
takes its place, never the folder that the package is installed in. The environment variable SSPCORE_HOME names another folder
in place of `data/`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from tempfile import gettempdir

from platformdirs import user_cache_dir

from sspcore.core.errors import SspError

PACKAGE = Path(__file__).resolve().parents[1]
IN_CHECKOUT = (PACKAGE.parent / "reproduce.sh").is_file()
HOME_VARIABLE = "SSPCORE_HOME"


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which may not be there yet."""
    while not os.path.exists(folder):  # False too where a folder above may not be entered
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def _cache() -> Path:
    """The user's cache folder; one of temporary files where there is no home, or none that can be written."""
    usual = Path(user_cache_dir("sspcore"))
    user = os.getuid() if hasattr(os, "getuid") else getuser()
    return usual if usual.is_absolute() and _is_writable(usual) else Path(gettempdir()) / f"sspcore-{user}"


REPOSITORY = PACKAGE.parent if IN_CHECKOUT else _cache()
SAMPLE = PACKAGE.parent / "data" / "sample" if IN_CHECKOUT else PACKAGE / "_sample"  # setup.py puts it there
_DATA = REPOSITORY / "data"


def home() -> Path:
    """Folder of all that is made; `HOME` is the one of this process."""
    return Path(os.environ.get(HOME_VARIABLE) or (_DATA if _is_writable(_DATA) else _cache() / "data")).absolute()


HOME = home()
# those that the owner of a read-only checkout has fetched are everybody's
WEIGHTS_FOLDER = (_DATA if _cache() / "data" == HOME and (_DATA / "weights").is_dir() else HOME) / "weights"
FLOW_CACHE = HOME / "flow-cache"


def unusual_home() -> str | None:
    """Where artefacts lie and why, in one line, if their usual place cannot be written; None otherwise."""
    usual = _DATA if IN_CHECKOUT else Path(user_cache_dir("sspcore")) / "data"
    if os.environ.get(HOME_VARIABLE) or usual == HOME:
        return None
    return f"{usual} cannot be written: what is made goes to {HOME}; {HOME_VARIABLE} may name another folder"


def require_checkout(what: str) -> None:
    """Raise SspError where sspcore is installed as a package, without notebooks, figures and the lock of the environment."""
    if not IN_CHECKOUT:
        raise SspError(f"{what} needs a checkout of the repository; clone it and run ./reproduce.sh setup there")


@dataclass(frozen=True)
class Workspace:
    """Folders of one profile's artefacts under `root`."""

    profile: str
    root: Path = HOME

    @property
    def base(self) -> Path:
        return self.root / self.profile

    @property
    def releases(self) -> Path:
        return self.base / "releases"

    def clips(self, dataset: str) -> Path:
        return self.base / "clips" / dataset

    def motion(self, dataset: str) -> Path:
        return self.base / "motion" / dataset

    def run(self, dataset: str, seed: int, system: str, key: str) -> Path:
        return self.base / "runs" / dataset / f"seed{seed}" / f"{slug(system)}-{key[:8]}"

    @property
    def notebooks(self) -> Path:
        return self.base / "notebooks"

    @property
    def figures(self) -> Path:
        """Tables and pictures of the run; those of a publication are copied from here (`sspcore.study.publish`)."""
        return self.base / "figures"


def shown(path: Path) -> str:
    """A path for people: relative to the repository where it lies in it."""
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


def slug(name: str) -> str:
    """A system's name as a folder name: "ConvNeXt-S + UPerNet" -> "convnext-s-upernet"."""
    kept = "".join(c if c.isalnum() or c in "._-" else " " for c in name.lower())
    return "-".join(part for part in kept.split() if part != "-")
