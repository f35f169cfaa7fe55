"""Where artefacts lie: in the checkout, or where SSPCORE_HOME says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sspcore.core.paths import REPOSITORY

SCRIPT = "from sspcore.core.paths import *; print(HOME, WEIGHTS_FOLDER, FLOW_CACHE, Workspace('smoke').base, sep='\\n')"


@pytest.mark.parametrize("home", [None, "elsewhere"])
def test_artefacts_lie_in_one_folder(tmp_path, home):
    others = {name: value for name, value in os.environ.items() if name != "SSPCORE_HOME"}
    environment = others | {"PYTHONPATH": str(REPOSITORY)}
    chosen = {} if home is None else {"SSPCORE_HOME": home}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment | chosen, cwd=tmp_path, capture_output=True, text=True, check=True)
    root = REPOSITORY / "data" if home is None else tmp_path / home
    assert done.stdout.splitlines() == [str(root), *(str(root / name) for name in ("weights", "flow-cache", "smoke"))]
