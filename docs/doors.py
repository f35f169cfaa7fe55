"""Write this repository's address where it is needed: `python docs/doors.py`.

The address stands in one place, pyproject.toml: `[project.urls]`, `Repository = "https://github.com/OWNER/NAME"`. README's
badges, CITATION.cff and the first cell of the start page (what Colab installs) follow it. Without an address only the badges
of paper and licence are there: those of CI, site, Colab and Binder need one.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
BADGES = re.compile(r"(<!-- badges -->\n).*?(<!-- end of badges -->)", re.DOTALL)
GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+)")
PAGE = "notebooks/00_start_here.ipynb"
CLONE = '".."'


def address() -> str | None:
    """The repository's address, as pyproject.toml has it."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {}).get("Repository")
    if found is not None and not GITHUB.fullmatch(found):
        sys.exit(f"pyproject.toml: Repository = {found!r}: expected https://github.com/OWNER/NAME")
    return found


def badges(repository: str | None) -> str:
    """Pictures with links, in Markdown, one a line."""
    shown = {}
    if repository is not None:
        owner, name = GITHUB.fullmatch(repository).groups()
        actions, colab = f"{repository}/actions/workflows", "https://colab.research.google.com"
        shown = {
            "CI": (f"{actions}/ci.yml/badge.svg", f"{actions}/ci.yml"),
            "site": (f"{actions}/pages.yml/badge.svg", f"https://{owner.lower()}.github.io/{name}/"),
            "open in Colab": (f"{colab}/assets/colab-badge.svg", f"{colab}/github/{owner}/{name}/blob/main/{PAGE}"),
            "open in Binder": (
                "https://mybinder.org/badge_logo.svg",
                f"https://mybinder.org/v2/gh/{owner}/{name}/main?urlpath=lab/tree/{PAGE}",
            ),
        }
    shown |= {
        "arXiv 2503.15676": ("https://img.shields.io/badge/arXiv-2503.15676-b31b1b.svg", "https://arxiv.org/abs/2503.15676"),
        "licence: Apache 2.0": ("https://img.shields.io/badge/licence-Apache--2.0-blue.svg", "LICENSE"),
    }
    return "".join(f"[![{title}]({picture})]({link})\n" for title, (picture, link) in shown.items())


def readme(text: str, repository: str | None) -> str:
    """README.md with its badges."""
    return BADGES.sub(lambda found: found[1] + badges(repository) + found[2], text)


def citation(text: str, repository: str | None) -> str:
    """CITATION.cff with the address of the software, below its licence."""
    line = "" if repository is None else f'repository-code: "{repository}"\n'
    return re.sub(r"^(license: .*\n)(repository-code: .*\n)?", lambda found: found[1] + line, text, count=1, flags=re.MULTILINE)


def start_page(text: str, repository: str | None) -> str:
    """The start page with what its first cell installs where the package is missing: the address, else the clone around it."""
    source = CLONE if repository is None else f'"git+{repository}"'
    notebook = json.loads(text)
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    first["source"] = [re.sub(r'^(source = )"[^"]*"', lambda found: found[1] + source, line) for line in first["source"]]
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


WRITTEN = {"README.md": readme, "CITATION.cff": citation, PAGE: start_page}


if __name__ == "__main__":
    for name, write in WRITTEN.items():
        path = ROOT / name
        path.write_text(write(path.read_text(encoding="utf-8"), address()), encoding="utf-8")
