"""What the library must never do, read off its source: unpickle, run strings, unpack blindly, build shell commands."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch

from sspcore.cli import sources
from sspcore.cli.main import main
from sspcore.core.checksums import published_checksum, require_checksum, sha256
from sspcore.core.errors import WeightsError
from sspcore.models import weight_files
from sspcore.motion.flow import RAFT_URL, RAFT_WEIGHTS

ROOT = Path(__file__).parents[2]
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
NEVER_CALLED = {
    "eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all",
    "shutil.unpack_archive", "torch.hub.load", "torch.jit.load", "commands.getoutput", "subprocess.getoutput",
    "subprocess.getstatusoutput", "tempfile.mktemp",
}
SUBPROCESS = {"subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output"}
# A list of words, or a name: a string would be taken apart, by a shell or on some systems by the called program.
WORDS = (ast.List, ast.Name)


def findings(source: str) -> Iterator[str]:
    """What is unsafe in a Python source, "line: what"."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                if name.split(".")[0] in UNPICKLERS - {"pickle"} or (name == "pickle" and isinstance(node, ast.ImportFrom)):
                    yield f"{line}: imports {name}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle" and node.attr != "UnpicklingError":
            yield f"{line}: uses pickle.{node.attr}"
        if isinstance(node, ast.Call):
            yield from _call(node, line)


def _call(node: ast.Call, line: int) -> Iterator[str]:
    name = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in NEVER_CALLED:
        yield f"{line}: calls {name}"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield f"{line}: torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
        yield f"{line}: np.load without allow_pickle=False"
    if name.endswith((".extractall", ".extract")):
        yield f"{line}: {name} writes where an archive says"
    if given.get("shell", "False") != "False":
        yield f"{line}: {name} with a shell"
    if name in SUBPROCESS and not (node.args and isinstance(node.args[0], WORDS)):
        yield f"{line}: {name} of something else than a list of words"
    if given.get("trust_remote_code", "False") != "False":
        yield f"{line}: {name} trusts remote code"


def _library() -> list[Path]:
    return sorted((ROOT / "sspcore").rglob("*.py"))


def _cells(notebook: Path) -> str:
    """The code of a notebook; lines of the shell and magics are kept as they are found below."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_library_does_nothing_unsafe() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{finding}" for path in _library() for finding in findings(path.read_text(encoding="utf-8"))
    ]
    assert len(_library()) > 50 and not found, found


def test_the_notebooks_do_nothing_unsafe_and_call_no_shell() -> None:
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        code = _cells(notebook)
        assert not re.findall(r"^\s*[!%].*", code, re.MULTILINE), notebook.name
        assert not list(findings(code)), notebook.name


def test_the_start_script_evaluates_no_string() -> None:
    script = (ROOT / "reproduce.sh").read_text(encoding="utf-8")
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    assert not re.findall(r"(?:^|[;&|]\s*|\bthen\s+|\bdo\s+)\s*(?:eval|source)\b.*", code, re.MULTILINE)
    assert not re.findall(r"\b(?:ba)?sh -c\b.*", code)


def test_nothing_is_fetched_over_plain_http() -> None:
    for path in _library():
        found = re.findall(r"http://[^\s\"')]+", path.read_text(encoding="utf-8"))
        assert all(re.match(r"http://(localhost|127\.0\.0\.1)\b", address) for address in found), (path, found)


@pytest.mark.parametrize("source", [
    "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)", "np.load(path, allow_pickle=True)",
    "import pickle\npickle.load(file)", "import joblib", "from pickle import loads", "yaml.load(text, Loader=yaml.Loader)",
    "eval(text)", "os.system(text)", "subprocess.run('ls ' + name)", "subprocess.run(f'ls {name}')",
    "subprocess.run(['ls', name], shell=True)", "archive.extractall(folder)", "shutil.unpack_archive(path)",
    "load(name, trust_remote_code=True)",
])
def test_each_unsafe_thing_would_be_found(source: str) -> None:
    assert list(findings(source))


def test_what_is_safe_is_let_pass() -> None:
    assert not list(findings(
        "import pickle\ntry:\n    torch.load(path, weights_only=True)\nexcept pickle.UnpicklingError:\n    pass\n"
        "np.load(path, mmap_mode='r', allow_pickle=False)\nyaml.safe_load(text)\nmodel.eval()\nsubprocess.run(['git', name])\n"
    ))


class Exploding:
    """Would run code when unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


def test_a_checkpoint_to_resume_from_is_not_unpickled(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from sspcore.core.checksums import with_crc
    from sspcore.training.loop import RESUME, _resume

    torch.save({"model": Exploding()}, tmp_path / RESUME)
    run = SimpleNamespace(folder=tmp_path, device=torch.device("cpu"), name="x")
    assert _resume(run, None, None, None) == []  # not one of ours: it carries no checksum
    (tmp_path / RESUME).write_bytes(with_crc((tmp_path / RESUME).read_bytes()))
    with pytest.raises(UnpicklingError, match="Weights only load failed"):
        _resume(run, None, None, None)


def test_checksums_that_came_with_a_file_are_known(tmp_path: Path) -> None:
    assert published_checksum(RAFT_WEIGHTS) == "ff5fadd5" and RAFT_URL.endswith(RAFT_WEIGHTS.name)
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
    monkeypatch.setattr(weight_files, "WEIGHTS_FOLDER", tmp_path / "weights")
    monkeypatch.setattr(weight_files, "hf_hub_download", lambda *arguments, **options: str(tmp_path / "cached"))
    with pytest.raises(WeightsError, match="fetch it again"):
        weight_files.HubWeights("base", "net", "owner/net").fetch()
    assert not (tmp_path / "weights").exists()


def test_the_listing_tells_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    damaged = tmp_path / RAFT_WEIGHTS.name
    damaged.write_bytes(b"half")
    monkeypatch.setattr(weight_files, "RAFT_WEIGHTS", damaged)
    monkeypatch.setattr(sources, "needed", lambda profile: [weight_files.RaftWeights()])
    assert main(["weights"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith(f"error: {damaged}: SHA-256 is")
