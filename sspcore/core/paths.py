"""Where things lie: the package, the checkout, artefacts of a profile, weights, caches.

Whatever a run makes lies in `data/` of the checkout; what is published of it, in `figures/`. Where sspcore is installed as a
package there is no checkout: the user's cache folder takes its place, never the folder that the package is installed in. The
environment variable SSPCORE_HOME names another folder in place of `data/`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_dir

from sspcore.core.errors import SspError

PACKAGE = Path(__file__).resolve().parents[1]
IN_CHECKOUT = (PACKAGE.parent / "reproduce.sh").is_file()
REPOSITORY = PACKAGE.parent if IN_CHECKOUT else Path(user_cache_dir("sspcore"))
SAMPLE = PACKAGE.parent / "data" / "sample" if IN_CHECKOUT else PACKAGE / "_sample"  # setup.py puts it there
HOME = Path(os.environ.get("SSPCORE_HOME") or REPOSITORY / "data").absolute()
WEIGHTS_FOLDER = HOME / "weights"
FLOW_CACHE = HOME / "flow-cache"


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
