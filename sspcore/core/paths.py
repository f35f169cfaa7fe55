"""Where things lie: the checkout, artefacts of a profile, weights, caches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS_FOLDER = REPOSITORY / "data" / "weights"
FLOW_CACHE = REPOSITORY / "data" / "flow-cache"


@dataclass(frozen=True)
class Workspace:
    """Folders of one profile's artefacts under `root` (default: the repository's data folder)."""

    profile: str
    root: Path = REPOSITORY / "data"

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


def slug(name: str) -> str:
    """A system's name as a folder name: "ConvNeXt-S + UPerNet" -> "convnext-s-upernet"."""
    kept = "".join(c if c.isalnum() or c in "._-" else " " for c in name.lower())
    return "-".join(part for part in kept.split() if part != "-")
