"""Memory kept between steps: no new pages in the block, none kept after it, and the limits are set back after an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sspcore.core.memory import memory_kept

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SCRIPT = """
import resource, sys
import torch
from sspcore.core.memory import memory_kept

def pages(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(48 * 2**20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

with memory_kept():
    pages(40)  # until what is allocated between the blocks has found its place
    inside, held = pages(10), resident()
print(inside, pages(10), held - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_pages_are_fetched_once_in_the_block_and_go_back_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    inside, outside, returned = map(int, done.stdout.split())
    # in huge pages, of 2 MiB, ten tensors of 48 MiB are 240 pages at least; in pages of 4 KiB they are 122,880
    huge = HUGE_PAGES.is_file() and "[always]" in HUGE_PAGES.read_text()
    fewest = 240 if huge else 10_000
    assert inside < min(1000, fewest) and outside >= fewest
    assert returned > 40 * 2**20


def test_a_system_without_the_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory_kept():
        pass
