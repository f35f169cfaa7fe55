"""Built pages: whether their links lead to something, and whether they load anything from another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "video": "src", "iframe": "src"}
POINTERS = ("search", "index", "next", "prev", "canonical")  # links of a page's head that load nothing
ELSEWHERE = ("http:", "https:", "//")
STYLE_ADDRESS = re.compile(r"""url\(['"]?((?:https?:|//)[^)'"]*)""")


class Page(HTMLParser):
    """Links, ids and loaded addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str | None] = set()
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {found.get("id"), found.get("name")}
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if found.get(LOADED.get(tag, "")) and found.get("rel") not in POINTERS:
            self.loads.append(str(found[LOADED[tag]]))


def find_problems(folder: Path) -> list[str]:
    """"page: address" of what is not there, has no such anchor, or is loaded from another host."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.resolve().rglob("*.html"))}
    found = []
    for path, page in pages.items():
        wrong = [address for address in page.loads if address.startswith(ELSEWHERE)]
        wrong += [address for address in (*page.links, *page.loads) if not _leads(address, path, pages)]
        found += [f"{path.relative_to(folder.resolve())}: {address}" for address in wrong]
    for path in sorted(folder.rglob("*.css")):
        addresses = STYLE_ADDRESS.findall(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(folder)}: {address}" for address in addresses]
    return found


def _leads(address: str, path: Path, pages: dict[Path, Page]) -> bool:
    """Whether a page's link leads to something; links to other hosts are not asked for."""
    if address.startswith((*ELSEWHERE, "mailto:", "data:", "javascript:")):
        return True
    name, _, anchor = unquote(address).partition("#")
    place = path.parent / name.partition("?")[0] if name else path
    known = pages.get(place.resolve())
    return place.is_file() and (not anchor or known is None or anchor in known.ids)
