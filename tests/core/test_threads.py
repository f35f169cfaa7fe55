"""Threads: those that wait do not spin, unless the user has chosen otherwise; work that has to be the same has one."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext

import cv2
import pytest
import torch

from sspcore.core.machine import one_thread

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


@pytest.mark.parametrize("error", [None, ValueError("of the block")])
def test_one_thread_lasts_as_long_as_its_block(error):
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(3)
    cv2.setNumThreads(2)
    try:
        with nullcontext() if error is None else pytest.raises(ValueError, match="of the block"), one_thread():
            assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)
            if error is not None:
                raise error
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (3, 2)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
