"""What `import sspcore` offers: quickly, without torch, and every name of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sspcore


def test_import_is_quick_and_loads_no_torch():
    text = "import sys, time; t = time.perf_counter(); import sspcore; print(time.perf_counter() - t, 'torch' in sys.modules)"
    runs = [subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout.split()[0]) for run in runs) < 0.3 and runs[0].stdout.split()[1] == "False"


@pytest.mark.parametrize("name", sspcore.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(sspcore, name)
    assert value.__doc__ and name in dir(sspcore)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(sspcore.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    seen = [alias.name for node in block.body for alias in node.names]
    assert sorted(seen) == sorted(sspcore.__all__) and (Path(sspcore.__file__).parent / "py.typed").is_file()


def test_unknown_name_is_told():
    with pytest.raises(AttributeError, match="no attribute 'Magic'; it offers DFF"):
        sspcore.Magic  # noqa: B018
