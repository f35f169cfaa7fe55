"""The notebooks of a run: which there are, what they are given, how one is executed."""

from __future__ import annotations

import json
import os
import re
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from sspcore.core.errors import SspError
from sspcore.core.paths import REPOSITORY
from sspcore.study import chapters, executing
from sspcore.study.kernel import OwnKernels, jupyter_path


def test_notebooks_run_in_numeric_order_from_the_start_page_on():
    names = [path.name[:2] for path in chapters.find_notebooks(None)]
    assert names == sorted(names) and names[0] == "00" and {"01", "02", "03", "07", "08"} <= set(names)


def test_only_takes_numbers_with_or_without_the_zero():
    assert [path.name[:2] for path in chapters.find_notebooks(("3", "07"))] == ["03", "07"]
    with pytest.raises(SspError, match="--only 42: no such notebook"):
        chapters.find_notebooks(("42",))


def test_chapters_of_distillation_are_left_out_where_nothing_is_distilled():
    teacher, training = chapters.find_notebooks(("04", "03"))
    assert not chapters.concerns(teacher, ["Base", "SSP"]) and chapters.concerns(teacher, ["Base", "KD-SSP"])
    assert chapters.concerns(training, ["Base"])
    assert not chapters.concerns(chapters.find_notebooks(("11",))[0], ["Base", "SSP"])


def test_ablations_run_last_and_only_on_request():
    def numbers(*arguments) -> list[str]:
        return [path.name[:2] for path in chapters.choose_notebooks(*arguments)]

    assert "09" not in numbers(None, ["Base"], False)
    assert numbers(None, ["Base"], True) == [*numbers(None, ["Base"], False), "09"]
    assert numbers(("09", "03"), ["Base"], True) == ["03", "09"] and numbers(("09", "03"), ["Base"], False) == ["09", "03"]


def test_every_notebook_has_a_parameters_cell_and_is_thin():
    for path in chapters.find_notebooks(None):
        cells = json.loads(path.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
        assert len(tagged) == 1 and "SSPCORE_PROFILE" in "".join(tagged[0]["source"]), path.name
        assert max(len(source.splitlines()) for source in code) <= 14, path.name
        assert sum(len(source.splitlines()) for source in code) <= 100, path.name
        assert not any(line.startswith(("def ", "class ")) for source in code for line in source.splitlines()), path.name


def test_parameters_are_passed_only_to_notebooks_that_take_them():
    notebook = chapters.find_notebooks(("02",))[0]
    accepted = chapters.accepted(notebook, {"profile": "smoke", "systems": ["Base"], "seed": 1})
    assert accepted == {"profile": "smoke", "seed": 1}


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Kernels of another installation, of which one is called as ours is, and IPython's settings of a user, which fail."""
    for name in ("python3", "julia"):
        folder = tmp_path / "foreign" / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(json.dumps({"argv": ["/bin/false", "{connection_file}"], "display_name": name}))
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "first.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("import os\nos._exit(1)\n")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "foreign"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "/proc/none")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


def test_python3_is_this_interpreter_and_other_kernels_stay(foreign):
    kernels = OwnKernels()
    assert kernels.get_kernel_spec("python3").argv[:3] == [sys.executable, "-m", "ipykernel_launcher"]
    listed = kernels.get_all_specs()
    assert listed["python3"]["spec"]["argv"][0] == sys.executable and listed["julia"]["spec"]["argv"][0] == "/bin/false"
    kernels.kernel_dirs = []
    assert kernels.get_all_specs().keys() == {"python3"} and kernels.get_kernel_spec("python3").argv[0] == sys.executable


def test_pages_are_made_with_the_templates_of_this_environment(foreign, tmp_path, monkeypatch):
    own = f"{sys.prefix}/share/jupyter"
    assert jupyter_path() == f"{own}:{tmp_path / 'foreign'}"
    monkeypatch.delenv("JUPYTER_PATH")
    assert jupyter_path() == own


@pytest.fixture
def tiny(tmp_path, monkeypatch, foreign):
    """Makes a notebook of one cell, and executes it with a real kernel, beside foreign ones."""
    def run(code: str, **parameters) -> chapters.Chapter:
        cells = [new_code_cell("value = 0", metadata={"tags": ["parameters"]}), new_code_cell(code)]
        metadata = {"language_info": {"name": "python"}}
        nbformat.write(new_notebook(cells=cells, metadata=metadata), tmp_path / "01_tiny.ipynb")
        chapter = chapters.Chapter("01_tiny.ipynb", parameters, str(tmp_path / "data"), "smoke", "k", time.time())
        executing.execute(chapter)
        return chapter

    monkeypatch.setattr(chapters, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return run


def test_kernels_pass_on_all_but_the_notice_about_their_transport(tiny, tmp_path, monkeypatch, capfd):
    """What a kernel writes itself arrives, and so does what the notebook notes from its own process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv(executing.WORKERS, raising=False)
    code = f"""import os
from pathlib import Path
from sspcore.core.files import write_json
write_json(Path({str(tmp_path / "a.json")!r}), [value, os.environ["OMP_NUM_THREADS"], os.environ["SSPCORE_WORKERS"]])
get_ipython().kernel.parent.log.critical("kept")"""
    chapter = tiny(code, value=5, unasked=6)
    error = capfd.readouterr().err
    assert "kept" in error and "TCP" not in error
    assert str(tmp_path / "a.json") in json.loads(chapter.stamp.read_text())["outputs"]
    assert json.loads((tmp_path / "a.json").read_text()) == [5, "1", "0"]
    assert os.environ["OMP_NUM_THREADS"] == "7" and executing.WORKERS not in os.environ
    assert chapters.why_run(chapter.stamp, "k") is None


def test_a_cell_that_fails_is_named_and_what_it_printed_is_kept(tiny, tmp_path):
    with pytest.raises(SspError, match=r"01_tiny.ipynb, cell 2: ValueError: two words \(executed so far: .*failed.ipynb\)"):
        tiny('print("so far")\nraise ValueError("two\\nwords")')
    assert "so far" in (tmp_path / "data" / "smoke" / "notebooks" / "01_tiny.failed.ipynb").read_text()
    stamp = tmp_path / "data" / "smoke" / "notebooks" / "01_tiny.json"
    assert chapters.why_run(stamp, "k") == "not run yet"


@pytest.mark.parametrize("number, kinds", [
    ("01", {"prepare"}), ("03", {"train"}), ("04", {"train", "label"}), ("05", {"train", "predict", "evaluate"}),
    ("06", {"train", "predict", "evaluate"}), ("07", {"predict", "evaluate"}),
])
def test_chapters_force_all_that_they_make(number, kinds):
    text = "\n".join(cell.source for cell in nbformat.read(chapters.find_notebooks((number,))[0], as_version=4).cells)
    forced = re.search(r"force=\(([^)]*)\) if force else \(\)", text)
    assert forced and set(re.findall(r'"(\w+)"', forced[1])) == kinds
