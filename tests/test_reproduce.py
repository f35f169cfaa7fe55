"""The notebook runner: order, parameters, what is refused."""

from __future__ import annotations

import json

import pytest

from sspcore import reproduce
from sspcore.errors import SspError


def test_notebooks_run_in_numeric_order_without_the_guide():
    names = [path.name[:2] for path in reproduce.find_notebooks(None)]
    assert names == sorted(names) and "00" not in names and {"01", "02", "03", "07", "08"} <= set(names)


def test_only_takes_numbers_with_or_without_the_zero():
    assert [path.name[:2] for path in reproduce.find_notebooks(("3", "07"))] == ["03", "07"]
    with pytest.raises(SspError, match="--only 42: no such notebook"):
        reproduce.find_notebooks(("42",))


def test_chapters_of_distillation_are_left_out_where_nothing_is_distilled():
    teacher, training = reproduce.find_notebooks(("04", "03"))
    assert not reproduce.concerns(teacher, ["Base", "SSP"]) and reproduce.concerns(teacher, ["Base", "KD-SSP"])
    assert reproduce.concerns(training, ["Base"])
    assert not reproduce.concerns(reproduce.find_notebooks(("11",))[0], ["Base", "SSP"])


def test_every_notebook_has_a_parameters_cell_and_is_thin():
    for path in reproduce.find_notebooks(None):
        cells = json.loads(path.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
        assert len(tagged) == 1 and "SSPCORE_PROFILE" in "".join(tagged[0]["source"]), path.name
        assert max(len(source.splitlines()) for source in code) <= 14, path.name
        assert sum(len(source.splitlines()) for source in code) <= 100, path.name
        assert not any(line.startswith(("def ", "class ")) for source in code for line in source.splitlines()), path.name


@pytest.mark.parametrize("arguments, message", [
    (["--profile", "demmo"], "profile 'demmo' is unknown"),
    (["--datasets", "cityscapes"], "--datasets cityscapes: unknown; choose from uavid, ruralscapes"),
    (["--systems", "SPP"], "--systems SPP: unknown"),
    (["--only", "99"], "--only 99: no such notebook"),
])
def test_wrong_usage_is_one_line_and_status_2(arguments, message, capsys):
    assert reproduce.main(["--profile", "smoke", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error


def test_parameters_are_passed_only_to_notebooks_that_take_them():
    notebook = reproduce.find_notebooks(("02",))[0]
    accepted = reproduce._accepted(notebook, {"profile": "smoke", "systems": ["Base"], "seed": 1})
    assert accepted == {"profile": "smoke", "seed": 1}
