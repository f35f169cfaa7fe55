"""The ways in: badges, Colab, Binder, containers, the citation. Nothing here needs the network or Docker."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/Some-One/some.name"


@pytest.fixture(scope="module")
def doors():
    """docs/doors.py."""
    spec = importlib.util.spec_from_file_location("doors", ROOT / "docs" / "doors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_files_have_the_address_of_pyproject(doors):
    for name, write in doors.WRITTEN.items():
        assert read(name) == write(read(name), doors.address()), f"{name}: run `python docs/doors.py`"


def test_an_address_reaches_all_that_name_it_and_can_be_taken_out_again(doors):
    readme, citation, page = (write(read(name), ADDRESS) for name, write in doors.WRITTEN.items())
    colab = "https://colab.research.google.com/github/Some-One/some.name/blob/main/notebooks/00_start_here.ipynb"
    binder = "https://mybinder.org/v2/gh/Some-One/some.name/main?urlpath=lab/tree/notebooks/00_start_here.ipynb"
    for link in (colab, binder, "https://some-one.github.io/some.name/", f"{ADDRESS}/actions/workflows/ci.yml", "LICENSE"):
        assert f"]({link})" in readme
    assert yaml.safe_load(citation)["repository-code"] == ADDRESS
    assert f'source = "git+{ADDRESS}"' in "".join(json.loads(page)["cells"][1]["source"])
    for name, text in zip(doors.WRITTEN, (readme, citation, page), strict=True):
        assert doors.WRITTEN[name](text, doors.address()) == read(name)


@pytest.mark.parametrize("found, asked", [(None, [("pip", "install --quiet ..")]), (object(), [])])
def test_the_start_page_installs_the_package_only_where_it_is_missing(doors, monkeypatch, found, asked):
    source = "".join(json.loads(doors.start_page(read(doors.PAGE), None))["cells"][1]["source"])
    magics = []
    shell = SimpleNamespace(run_line_magic=lambda name, line: magics.append((name, line)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    exec(source, {"get_ipython": lambda: shell})  # noqa: S102 - the notebook's own cell
    assert magics == asked


def test_the_citation_names_software_and_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    needed = {"cff-version", "message", "title", "abstract", "type", "version", "license", "keywords", "authors"}
    assert needed <= citation.keys()
    assert citation["version"] == re.search(r'^version = "(.*)"', read("pyproject.toml"), re.MULTILINE)[1]
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Vincent", "Kim", "Meeß"]
    assert paper["doi"].endswith("2503.15676") and paper["url"].endswith("2503.15676") and paper["year"] == 2025


def binder_lines() -> list[str]:
    return [line for line in read(".binder/requirements.txt").splitlines() if not line.startswith("#")]


def packages() -> tuple[set[str], set[str]]:
    """Names that Binder installs, and those that the project asks for."""
    required = re.findall(r'^    "([^"]+)",', read("pyproject.toml"), re.MULTILINE)
    listed = {canonicalize_name(line) for line in binder_lines() if not line.startswith("--")}
    return listed, {canonicalize_name(Requirement(text).name) for text in required}


def test_binder_installs_packages_of_the_project_and_holds_them_to_the_lock():
    listed, known = packages()
    assert "--constraint ../requirements.lock" in binder_lines()
    assert listed <= known and {"torch", "jupyterlab", "anywidget"} <= listed


@pytest.mark.slow
def test_the_start_page_imports_no_more_than_binder_installs(doors):
    listed, known = packages()
    absent = [name.replace("-", "_") for name in known - listed]
    assert {"distributed", "onnxruntime", "papermill"} <= set(absent)
    cells = [cell for cell in json.loads(read(doors.PAGE))["cells"] if cell["cell_type"] == "code"]
    lines = [line for cell in cells for line in "".join(cell["source"]).splitlines() if line.startswith(("from ", "import "))]
    script = "\n".join([f"import sys; sys.modules.update(dict.fromkeys({absent!r}))", *lines])
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=300)


def test_containers_run_what_is_there():
    container = json.loads(read(".devcontainer/devcontainer.json"))
    dockerfile = read("Dockerfile").splitlines()
    assert "bash ./reproduce.sh setup --cpu" in container["updateContentCommand"]
    assert "RUN ./reproduce.sh setup --cpu" in dockerfile
    assert dockerfile[-2:] == ['ENTRYPOINT ["./reproduce.sh"]', 'CMD ["--profile", "demo"]']
    (opened,) = container["customizations"]["codespaces"]["openFiles"]
    assert (ROOT / opened).is_file()
