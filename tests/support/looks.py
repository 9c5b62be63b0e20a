"""Looks at pages in a real browser: what axe finds, what the console says, which hosts are asked."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
RUN = """axe.run(document, {resultTypes: ["violations"]}).then(
  (found) => found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes[0].html}`))"""


class Look:
    """A page of a browser, and what it did that it should not: errors on its console, requests to other hosts."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.faults: list[str] = []
        page.on("console", lambda m: self.faults.append(m.text) if m.type in ("error", "warning") else None)
        page.on("request", lambda request: self._asked(request.url))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))

    def _asked(self, address: str) -> None:
        if not address.startswith((self.url, "data:", "blob:")):
            self.faults.append(f"asked {address}")

    def at(self, path: str) -> Page:
        """Go to a page of the service."""
        self.page.goto(self.url + path)
        return self.page

    def as_seen(self, scheme: Any, width: int) -> None:
        """See pages in light or dark, so wide, from now on."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": 800})

    def violations(self) -> list[str]:
        """Return what axe finds on the page; by the debugger, so that the page's own policy stays as it is."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": AXE})
        found: list[str] = self.page.evaluate(RUN)
        session.detach()
        return found

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        over: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return over
