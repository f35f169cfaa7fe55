"""Threads that wait do not spin, unless the user has chosen otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
OURS = {"KMP_BLOCKTIME": "1"} if sys.platform == "darwin" else {"GOMP_SPINCOUNT": "1000"}


@pytest.mark.parametrize(("chosen", "expected"), [
    ({}, OURS),
    ({"OMP_WAIT_POLICY": "PASSIVE"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
    ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
])
def test_import_sets_how_long_threads_spin_where_nobody_has(chosen, expected):
    script = f"import sspcore, os; print({{name: os.environ[name] for name in {NAMES} if name in os.environ}})"
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run([sys.executable, "-c", script], env=environment | chosen, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
