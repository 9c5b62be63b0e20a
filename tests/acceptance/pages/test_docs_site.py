"""The documentation's site in a real browser: it asks no other host for anything, and its search answers."""

import functools
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.paths import ROOT

OTHER_HOST = re.compile(r"""\b(?:href|src|srcset|data|action)=["']?(?:https?:)?//""")
PAGES = ["howto/lora/", "reference/rest/", "architecture/", "comparison/"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def site(folder: Path) -> Iterator[str]:
    """The site behind a server on loopback; its URL ends in a slash."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_no_page_names_a_resource_of_another_host(folder: Path) -> None:
    """What a browser loads by itself; a link that a reader may follow is no resource."""
    pages = [*folder.rglob("*.html")]
    assert len(pages) > 100
    for path in pages:
        text = path.read_text(encoding="utf-8")
        tags = re.findall(r"<(?:link|script|img|iframe|source|object|embed|form|use|video|audio)\b[^>]*>", text)
        assert [tag for tag in tags if OTHER_HOST.search(tag)] == [], path
        assert 'class="mermaid"' not in text  # the theme would fetch its library from another host
    for path in folder.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import\s)[\"']?(?:https?:)?//", path.read_text(encoding="utf-8")), path


def test_lists_and_tables_are_drawn_as_on_the_repositorys_pages(folder: Path) -> None:
    for path in folder.rglob("*.html"):
        text = re.sub(r"<(pre|table)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for paragraph in re.findall(r"<p>(.*?)</p>", text, flags=re.DOTALL):
            assert not re.search(r"^(?:[-*] |\d+\. |\|)", paragraph, flags=re.MULTILINE), (path, paragraph[:200])


def test_pages_fit_a_narrow_window_ask_no_other_host_and_are_found(page: Page, site: str) -> None:
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.set_viewport_size({"width": 400, "height": 800})
    for name in PAGES:
        page.goto(site + name, wait_until="networkidle")
        expect(page.locator("article h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, name
    page.set_viewport_size({"width": 1280, "height": 800})
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(site, wait_until="networkidle")
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]
    search = page.get_by_role("textbox", name="Search")
    search.press_sequentially("freeze_depth", delay=200)  # what is typed before it listens is lost
    expect(page.locator(".md-search-result__item").first).to_be_visible(timeout=30_000)
    assert [url for url in requests if not url.startswith((site, "data:", "blob:"))] == []
    assert errors == []
