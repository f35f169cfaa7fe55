"""What is read from files is data, never code: no unpickling, no blind unpacking; damaged downloads are refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sspcore.cli.main import main
from sspcore.core.checksums import published_checksum, require_checksum, sha256
from sspcore.core.errors import WeightsError
from sspcore.models import pretrained
from sspcore.motion.weights import RAFT_URL, RAFT_WEIGHTS
from sspcore.study import requirements

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "reproduce.sh"
# What ruff's rules (S, TID251 in pyproject.toml) do not see: each pattern, and a line that it has to find.
UNSAFE = {
    r"weights_only\s*=\s*False": "torch.load(path, weights_only=False)",
    r"allow_pickle\s*=\s*True": "np.load(path, allow_pickle=True)",
    r"trust_remote_code\s*=\s*True": "load(name, trust_remote_code=True)",
    r"\.extract(all)?\(": "archive.extractall(folder)",
    r"http://(?!localhost\b|127\.0\.0\.1\b)": "http://example.org/weights.pth",
}


def code() -> Iterator[tuple[str, str]]:
    """Name and text of every module, and the code of every notebook."""
    for path in sorted((ROOT / "sspcore").rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("pattern", UNSAFE)
def test_nothing_is_unpickled_unpacked_blindly_or_fetched_over_plain_http(pattern: str) -> None:
    assert re.search(pattern, UNSAFE[pattern])
    assert not [name for name, text in code() if re.search(pattern, text)]


def test_notebooks_call_no_shell() -> None:
    assert not [name for name, text in code() if name.endswith(".ipynb") and re.search(r"^\s*[!%]", text, re.MULTILINE)]


def test_the_start_script_evaluates_no_text() -> None:
    lines = [line for line in SCRIPT.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    evaluated = r"(?:^|[;&|]\s*|\bthen\s+|\bdo\s+)\s*(?:eval|source)\b|\b(?:ba)?sh -c\b"
    assert not [line for line in lines if re.search(evaluated, line)]


class Exploding:
    """Would run code when unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


def test_a_checkpoint_to_resume_from_is_not_unpickled(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from sspcore.training.loop import RESUME, _resume

    torch.save({"model": Exploding()}, tmp_path / RESUME)
    run = SimpleNamespace(folder=tmp_path, device=torch.device("cpu"), name="x")
    assert _resume(run, {}) == []


def test_checksums_that_came_with_a_file_are_known(tmp_path: Path) -> None:
    assert published_checksum(RAFT_WEIGHTS) == "22a6c225" and RAFT_URL.endswith(RAFT_WEIGHTS.name)
    blob = tmp_path / ("ab" * 32)
    blob.write_bytes(b"x")
    (tmp_path / "model.safetensors").symlink_to(blob)
    assert published_checksum(tmp_path / "model.safetensors") == blob.name
    assert published_checksum(tmp_path / "mine.safetensors") is published_checksum(tmp_path / "mit-b0.pth") is None


def test_a_file_passes_if_its_checksum_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    good = tmp_path / f"net-{sha256(tmp_path / 'a')[:8]}.pth"
    good.write_bytes(b"weights")
    require_checksum(good)
    good.write_bytes(b"weightz")
    with pytest.raises(WeightsError, match=r"net-.*\.pth: SHA-256 is .* delete it"):
        require_checksum(good)


def test_a_damaged_download_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = tmp_path / ("0" * 64)
    blob.write_bytes(b"half")
    (tmp_path / "cached").symlink_to(blob)
    monkeypatch.setattr(pretrained, "WEIGHTS_FOLDER", tmp_path / "weights")
    monkeypatch.setattr(pretrained, "hf_hub_download", lambda *arguments, **options: str(tmp_path / "cached"))
    with pytest.raises(WeightsError, match="fetch it again"):
        pretrained.HubWeights("base", "net", "owner/net").fetch()
    assert not (tmp_path / "weights").exists()


def test_the_listing_tells_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    damaged = tmp_path / RAFT_WEIGHTS.name
    damaged.write_bytes(b"half")
    monkeypatch.setattr(pretrained, "RAFT_WEIGHTS", damaged)
    monkeypatch.setattr(requirements, "needed", lambda profile: [pretrained.RaftWeights()])
    assert main(["weights"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith(f"error: {damaged}: SHA-256 is")
