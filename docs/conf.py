"""Settings of the site for Sphinx. `sspcore docs` and `sspcore report` gather its pages (sspcore.report.site) and build it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mathjax  # of django-static-mathjax: MathJax's files, so that no page loads anything from elsewhere

from sspcore import __version__
from sspcore.report.site.docstrings import as_rst

project, author, release = "sspcore", "the sspcore authors", __version__
project_copyright = "the sspcore authors, Apache-2.0"
extensions = [
    "myst_nb", "sphinx_copybutton", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax",
]
exclude_patterns = ["**/.*"]
default_role = "code"    # docstrings name code in single backticks
suppress_warnings = ["ref.python"]    # a word in a type that names members of several classes

html_theme = "furo"
html_title = "sspcore"
html_static_path = ["_static", str(Path(mathjax.__file__).parent / "static/mathjax/es5/tex-svg.js")]
html_css_files = ["site.css"]
html_js_files = [("sort.js", {"defer": "defer"})]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
mathjax_path = "tex-svg.js"
pygments_style, pygments_dark_style = "friendly", "monokai"

nb_execution_mode = "off"    # outputs are the committed ones, or those of the run
nb_output_stderr = "remove"
nb_ipywidgets_js: dict[str, Any] = {}    # widgets need a kernel
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
copybutton_selector = "div:not(.output) > div.highlight pre"

napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
python_maximum_signature_line_length = 100

linkcheck_timeout, linkcheck_retries = 20, 2
linkcheck_anchors = False


def translate(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Have Sphinx read a docstring as it is meant."""
    lines[:] = as_rst(lines)


def setup(app: Any) -> None:
    """Before napoleon, which reads sections such as `Args:`."""
    app.connect("autodoc-process-docstring", translate, priority=400)
