"""The site: its pages and links before Sphinx, docstrings as Sphinx reads them, tables that sort, and the whole of it."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from pathlib import Path

import pytest

from helpers.browser import chromium, find_chromium
from sspcore.core.paths import REPOSITORY
from sspcore.metrics import METRICS, build_metric
from sspcore.report.site import build_site
from sspcore.report.site.build import gather, opening
from sspcore.report.site.docstrings import as_rst
from sspcore.report.site.links import find_problems
from sspcore.report.site.markdown import LINK, linked

needs_sphinx = pytest.mark.skipif(importlib.util.find_spec("myst_nb") is None, reason="the extra docs is not installed")
needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
TABLE = """<table class="dataframe"><thead><tr><th>System</th><th>mIoU</th></tr></thead><tbody>
<tr><td><strong>Image systems</strong></td><td></td></tr><tr><td>Base</td><td>9.50 ± 0.10</td></tr>
<tr><td>A</td><td>–</td></tr><tr><td>B</td><td><strong>10.25</strong></td></tr><tr><td>C</td><td>−1.00</td></tr>
<tr><td><strong>Video systems</strong></td><td></td></tr><tr><td>SSP</td><td>55.1</td></tr><tr><td>DFF</td><td>60.2</td></tr>
</tbody></table>"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of the repository's site."""
    folder = tmp_path_factory.mktemp("site") / "pages"
    gather(folder, None)
    return folder


def texts_of(path: Path) -> str:
    """The Markdown of a page or of a notebook."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")


def test_every_link_of_a_page_leads_to_a_page_or_a_file_of_the_site(pages):
    found = 0
    for path in (*pages.rglob("*.md"), *pages.rglob("*.ipynb")):
        for _, _, target in LINK.findall(re.sub(r"```.*?```|`[^`]*`", "", texts_of(path), flags=re.DOTALL)):
            name = target.partition("#")[0]
            if name and "://" not in name:
                found += 1
                assert (path.parent / name).is_file(), f"{path.relative_to(pages)}: {target}"
    assert found > 250


def test_all_pages_are_there_once_in_the_lists_of_contents(pages):
    listed = []
    for path in pages.rglob("*.md"):
        for block in re.findall(r"```\{toctree\}(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            names = [line.rpartition("<")[2].rstrip(">") for line in block.splitlines() if line and not line.startswith(":")]
            places = [(path.parent / name).relative_to(pages) for name in names]
            listed += [str(place) if place.suffix == ".ipynb" else f"{place}.md" for place in places]
    everything = {str(path.relative_to(pages)) for path in (*pages.rglob("*.md"), *pages.rglob("*.ipynb"))}
    assert sorted(listed) == sorted(everything - {"index.md"})


def test_links_of_the_repository_are_those_of_the_site(tmp_path):
    root, site = tmp_path / "root", tmp_path / "site"
    for place in (root / "docs", root / "figures", root / "code", site / "docs", site / "figures"):
        place.mkdir(parents=True)
    for place in (root / "code" / "a.yaml", root / "README.md", site / "README.md", site / "figures" / "index.md"):
        place.touch()
    text = (
        "[a](../code/a.yaml#L3) [`code/`](../code) [all](../figures/) [up](../README.md#here) [out](https://b.c) [own](#part)\n"
        "[![CI](https://b.c/badge.svg)](https://b.c) ![p](https://b.c/p.png)\n[nowhere](../none.md)"
    )
    assert linked(text, root / "docs" / "page.md", root, site) == (
        "[a](../code/a.yaml) `code/` [all](../figures/index.md) [up](../README.md#here) [out](https://b.c) [own](#part)\n"
        "[nowhere](../none.md)"
    )
    assert (site / "code" / "a.yaml").is_file()


def test_the_front_page_is_the_start_of_readme():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    start = opening(readme)
    assert readme.startswith(start) and start.count("\n## ") == 1 and "reproduce.sh" in start


def test_a_docstring_becomes_fields_code_and_text():
    found = as_rst([
        "Name, short: one |x| of `a * b`, *args_ too.", "", "Returns: (N,) where", "    it ends.", "Raises: never.", "",
        "    call(x)", "    again * 2", "", "Word: prose that", "goes on.", "", "* a point",
    ])
    assert found == [
        r"Name, short: one \|x\| of `a * b`, \*args\_ too.", "", ":Returns: (N,) where", "    it ends.", "",
        ":Raises: never.", "", "::", "", "    call(x)", "    again * 2", "", "Word: prose that", "goes on.", "", "* a point",
    ]


def test_what_a_metrics_docstring_says_is_a_list():
    for metric in METRICS:
        text = inspect.getdoc(type(build_metric(metric, 4, (1,))))
        _, entries = "\n".join(as_rst(text.splitlines())).split("\n\n:Formula: ")
        assert all(line.startswith((":", "    ")) for line in entries.splitlines()[1:] if line), entries


def test_a_broken_link_an_unknown_anchor_and_a_file_of_another_host_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<a href="sub/b.html#here">b</a><a href="https://c.d">out</a><a href="#top">top</a><p id="top"></p>'
        '<a href="sub/none.html">n</a><a href="sub/b.html#there">t</a><img src="x.png"><script src="https://c.d/e.js"></script>'
    )
    (tmp_path / "sub" / "b.html").write_text('<h1 id="here">b</h1><link rel="next" href="../a.html"><a href="../a.html">a</a>')
    (tmp_path / "s.css").write_text("p { background: url('https://c.d/f.woff') } b { background: url(x.png) }")
    assert sorted(find_problems(tmp_path)) == [
        "a.html: https://c.d/e.js", "a.html: sub/b.html#there", "a.html: sub/none.html", "a.html: x.png",
        "s.css: https://c.d/f.woff",
    ]


@needs_chromium
def test_tables_sort_by_value_within_their_sections():
    script = (REPOSITORY / "docs" / "_static" / "sort.js").read_text(encoding="utf-8")
    with chromium(patience=20) as page:
        page.set_content(TABLE)
        page.add_script_tag(content=script)
        order = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].textContent).join()"
        page.click("th:nth-child(2)")
        assert page.evaluate(order) == "Image systems,B,Base,C,A,Video systems,DFF,SSP"
        page.focus("th:nth-child(2)")
        page.keyboard.press("Enter")
        assert page.evaluate(order) == "Image systems,C,Base,B,A,Video systems,SSP,DFF"
        assert page.get_attribute("th:nth-child(2)", "aria-sort") == "ascending"
        page.click("th:nth-child(1)")
        assert page.evaluate(order) == "Image systems,A,B,Base,C,Video systems,DFF,SSP"


@pytest.mark.slow
@needs_sphinx
def test_the_whole_site_builds_without_a_warning_and_is_complete(tmp_path):
    build_site(tmp_path / "site")
    text = (tmp_path / "site" / "docs" / "METHOD.html").read_text(encoding="utf-8")
    assert "<h1>METHOD" in text and (tmp_path / "site" / "_static" / "tex-svg.js").is_file()
