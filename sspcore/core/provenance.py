"""What a result says of its origin: commit, versions, machine, and when its run began."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from functools import cache
from importlib.metadata import version
from typing import Any

from sspcore.core.paths import IN_CHECKOUT, REPOSITORY

RUN_BEGAN = "SSPCORE_RUN_BEGAN"
REPORTED_PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "opencv-python-headless")
_PROCESS_BEGAN = time.time()


def provenance(profile: str, seed: int, data_key: str) -> dict[str, Any]:
    """Origin of a result, as JSON values."""
    return {
        "commit": git_commit(), "profile": profile, "seed": seed, "data_key": data_key,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in REPORTED_PACKAGES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def run_began(default: float = _PROCESS_BEGAN) -> float:
    """When the run began, in seconds since the epoch: `sspcore.study.reproduce` says so, else this process's start."""
    return float(os.environ.get(RUN_BEGAN, default))


def git_commit() -> str:
    """Short commit of the checkout, "+" appended where the work tree differs; "unknown" where there is none.

    An exported copy has none, also below a folder that is under git; nor does an installed package.
    """
    if not (IN_CHECKOUT and (REPOSITORY / ".git").exists()):
        return "unknown"
    # the code of this checkout runs already, whoever it belongs to; and git of a hook names its own repository in GIT_DIR
    git = ["git", "-c", f"safe.directory={REPOSITORY}", "--no-optional-locks"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = {"cwd": REPOSITORY, "text": True, "stderr": subprocess.DEVNULL, "timeout": 20, "env": environment}
    try:
        # figures/ holds what was published and measured: written outputs must not mark the code as changed
        status = [*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!figures"]
        changed = subprocess.check_output(status, **settings)
        commit = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], **settings)
        return commit.strip() + "+" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def code_in_memory() -> str:
    """The commit of the code that this process runs: `git_commit`, "+" appended where it has changed since the first call.

    What was edited or checked out in between is on disk and not in memory. About 10 ms a call: git is asked every time.
    """
    first, now = _first_commit(), git_commit()
    return now if now == first else first.removesuffix("+") + "+"


@cache
def _first_commit() -> str:
    return git_commit()
