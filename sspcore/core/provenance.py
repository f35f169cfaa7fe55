"""What a result says of its origin: commit, versions, machine, and when its run began."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from functools import cache
from importlib.metadata import version
from typing import Any

from sspcore.core.notebooks import source_of
from sspcore.core.paths import IN_CHECKOUT, REPOSITORY

RUN_BEGAN = "SSPCORE_RUN_BEGAN"
REPORTED_PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "opencv-python-headless")
_PROCESS_BEGAN = time.time()


def provenance(profile: str, seed: int, data_key: str) -> dict[str, Any]:
    """Origin of a result, as JSON values."""
    return {
        "commit": git_commit(), "profile": profile, "seed": seed, "data_key": data_key,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in REPORTED_PACKAGES},
        "machine": machine_name(),
    }


def machine_name() -> str:
    """Processor and cores: "x86_64 (AVX512), 2 cores". How sums are rounded depends on the instructions that torch uses."""
    import torch  # takes seconds, and most who import this module do not ask

    return f"{platform.machine()} ({torch.backends.cpu.get_cpu_capability()}), {os.cpu_count()} cores"


def run_began(default: float = _PROCESS_BEGAN) -> float:
    """When the run began, in seconds since the epoch: `sspcore.study.reproduce` says so, else this process's start."""
    return float(os.environ.get(RUN_BEGAN, default))


def git_commit() -> str:
    """Short commit of the checkout, "+" appended where the work tree differs; "unknown" where there is none.

    An exported copy has none, also below a folder that is under git; nor does an installed package.
    """
    if not (IN_CHECKOUT and (REPOSITORY / ".git").exists()):
        return "unknown"
    try:
        # figures/ holds what was published and measured: written outputs must not mark the code as changed
        lines = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!figures").splitlines()
        changed = not all(_has_other_outputs_only(line[3:]) for line in lines)
        return _git("rev-parse", "--short=12", "HEAD").strip() + "+" * changed
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def is_earlier(commit: str, unchanged: str) -> bool:
    """Whether a commit is part of the history of the checkout, and no file that matches `unchanged` has changed since."""
    try:
        _git("merge-base", "--is-ancestor", commit, "HEAD")
        _git("diff", "--quiet", commit, "HEAD", "--", unchanged)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _git(*arguments: str) -> str:
    """What a git command prints. The code of this checkout runs already, whoever it belongs to: hence safe.directory."""
    command = ["git", "-c", f"safe.directory={REPOSITORY}", "--no-optional-locks", *arguments]
    # git of a hook names its own repository in GIT_DIR
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.check_output(
        command, cwd=REPOSITORY, encoding="utf-8", stderr=subprocess.DEVNULL, timeout=20, env=environment
    )


def _has_other_outputs_only(name: str) -> bool:
    """Whether a changed file is a notebook of the same source: a publication writes outputs into it."""
    if not name.endswith(".ipynb"):
        return False
    try:
        before = json.loads(_git("show", f"HEAD:{name}"))
        return source_of(before) == source_of(json.loads((REPOSITORY / name).read_text(encoding="utf-8")))
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError):  # new, moved, deleted or damaged
        return False


def code_in_memory() -> str:
    """The commit of the code that this process runs: `git_commit`, "+" appended where it has changed since the first call.

    What was edited or checked out in between is on disk and not in memory. About 10 ms a call: git is asked every time.
    """
    first, now = _first_commit(), git_commit()
    return now if now == first else first.removesuffix("+") + "+"


@cache
def _first_commit() -> str:
    return git_commit()
