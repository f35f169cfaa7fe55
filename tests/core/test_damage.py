"""A damaged artefact is noticed and made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sspcore.core.checksums import first_damage, manifest, read_array, write_array
from sspcore.core.store import is_fresh, stage


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(path.read_bytes()[:-1]),
    lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    lambda path: path.write_bytes(b""),
    lambda path: path.unlink(),
], ids=["cut off", "a flipped bit", "emptied", "deleted"])
def test_a_damaged_artefact_is_made_again(tmp_path, damage, caplog):
    made = []

    def build(folder: Path) -> None:
        made.append(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "weights.bin").write_bytes(b"weights")

    folder = stage("it", tmp_path / "it", "k", build)
    assert stage("it", folder, "k", build) == folder and len(made) == 1
    damage(folder / "deep" / "weights.bin")
    assert not is_fresh(folder, "k")
    stage("it", folder, "k", build)
    assert len(made) == 2 and (folder / "deep" / "weights.bin").read_bytes() == b"weights"


def test_large_folders_are_compared_by_size(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"12345")
    monkeypatch.setattr("sspcore.core.checksums.SUMMED_BYTES", 4)
    recorded = manifest(tmp_path)
    assert recorded == {"a": [5]}
    (tmp_path / "a").write_bytes(b"54321")
    assert first_damage(tmp_path, recorded) is None
    (tmp_path / "a").write_bytes(b"123")
    assert first_damage(tmp_path, recorded) == "a"


def test_arrays_carry_their_checksum(tmp_path):
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    write_array(tmp_path / "a.npy", array)
    assert np.array_equal(read_array(tmp_path / "a.npy"), array)
    assert np.array_equal(np.load(tmp_path / "a.npy"), array), "np.load reads it too"
    data = bytearray((tmp_path / "a.npy").read_bytes())
    for position in (len(data) - 1, len(data) // 2):
        flipped = bytearray(data)
        flipped[position] ^= 1
        (tmp_path / "a.npy").write_bytes(flipped)
        assert read_array(tmp_path / "a.npy") is None
    np.save(tmp_path / "a.npy", array)
    assert read_array(tmp_path / "a.npy") is None, "without a checksum nothing vouches for it"
