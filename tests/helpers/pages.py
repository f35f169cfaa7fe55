"""Pages of a site as files: where their links lead, and what they load."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "video": "src", "iframe": "src"}


class Page(HTMLParser):
    """Links, ids and loaded addresses of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in LOADED and found.get(LOADED[tag]) and found.get("rel") not in ("search", "index", "next", "prev"):
            self.loads.append(found[LOADED[tag]])


def broken_links(folder: Path) -> list[str]:
    """"page: target" of every link and loaded file that is not there, and of every anchor that its page does not have."""
    pages = {path: Page(path) for path in folder.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for target in (*page.links, *page.loads):
            if target.startswith(("http:", "https:", "mailto:", "data:", "javascript:")):
                continue
            name, _, anchor = unquote(target).partition("#")
            place = (path.parent / name.partition("?")[0]).resolve() if name else path
            there = place.is_file() and (not anchor or place not in pages or anchor in pages[place].ids)
            broken += [] if there else [f"{path.relative_to(folder)}: {target}"]
    return broken


def loaded_from_elsewhere(folder: Path) -> list[str]:
    """"page: address" of every script, style, font and picture that pages load from another host."""
    found = [
        f"{path.relative_to(folder)}: {address}" for path in folder.rglob("*.html") for address in Page(path).loads
        if address.startswith(("http:", "https:", "//"))
    ]
    styles = {path.relative_to(folder): path.read_text(encoding="utf-8") for path in folder.rglob("*.css")}
    return found + [f"{name}: @import or url() of another host" for name, text in styles.items() if "url(http" in text or "url(//" in text]
