"""Forms of pages, without a browser: what they are filled in with, what a push of their button answers."""

import html
import re

import httpx

from tests.support.harness import Running

Files = dict[str, tuple[str, bytes]]


def fields(page: str) -> dict[str, str]:
    """The values that a page's form is filled in with, by the names of its fields."""
    inputs = re.findall(r'<input id="[^"]*" name="([^"]+)"[^>]* value="([^"]*)"', page)
    hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {**dict(inputs), **dict(hidden)}


def post(house: Running, path: str, data: dict[str, str], files: Files | None = None, **headers: str) -> httpx.Response:
    return house.client.post(path, data=data, files=files, headers=headers)


def refused(answer: httpx.Response, status: int, *words: str) -> str:
    """The page that refuses a form, which must have a sentence with these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    told = re.search(r'<(p|div) [^>]*role="alert"[^>]*>(.+?)</\1>', answer.text, re.DOTALL)
    assert told is not None
    for word in words:
        assert word in html.unescape(told[2])
    return answer.text
