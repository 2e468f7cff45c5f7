"""
Find dead links in the built pages.

Sphinx warns of a wrong reference in its own pages, and pydoctor of a name that does not exist;
neither checks the anchors that both write. C{python doc/deadlinks.py DIRECTORY} reads every
HTML page below a directory and checks that the file and the anchor of each link exist. It does
not follow links to other sites, so it needs no network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["Page", "deadLinks", "main"]


class Page(HTMLParser):
    """
    The links and the anchors of one page.

    @ivar links: pairs of line and address.
    @ivar anchors: the valid fragments of a link to this page.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[int, str]] = []
        self.anchors = {"", "top"}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """
        Collect the links and anchors of a tag.
        """
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.links.append((self.getpos()[0], value))


def deadLinks(root: Path) -> Iterator[str]:
    """
    Iterate over the dead links, each as a sentence with the page and the line.

    @param root: the directory with the pages.
    """
    root = root.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.html"))}
    for path, page in pages.items():
        for line, address in page.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            where = f"{path.relative_to(root)}:{line}: {address}"
            if not target.is_file():
                yield f"{where}: the file does not exist"
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: the page does not have this anchor"


def main(arguments: list[str]) -> int:
    """
    Print the dead links.

    @return: the exit code: 1 for dead links, and 2 for a directory without pages.
    """
    root = Path(*arguments)
    if not any(root.rglob("*.html")):
        print(f"{root} has no HTML pages: build them first, with `make docs`", file=sys.stderr)
        return 2
    dead = list(deadLinks(root))
    for sentence in dead:
        print(sentence, file=sys.stderr)
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
