"""The first paint of pages of a running service, in a real browser, and what the page costs it.

    python benchmarks/pages.py URL [PATH ...] [--looks 7] [--json]

Each look is by a browser that has nothing of the service yet; the first look of a path is not counted. CPU is that of
the page's main thread alone, which hardly depends on what else runs; all else is wall time.
"""

import argparse
import json
import os
import shutil
import statistics
from typing import Any

from playwright.sync_api import Browser, sync_playwright

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
TIMES = """() => ({
  answer_ms: performance.getEntriesByType("navigation")[0].responseEnd,
  first_paint_ms: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
  nodes: document.querySelectorAll("*").length,
})"""
CPU = {"TaskDuration": "cpu_ms", "LayoutDuration": "layout_ms", "ScriptDuration": "script_ms"}


def look(browser: Browser, address: str) -> dict[str, float]:
    """Return what a first look at a page takes: milliseconds, and the nodes of its document."""
    with browser.new_context() as context:
        page = context.new_page()
        debugger = context.new_cdp_session(page)
        debugger.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(address, wait_until="load")
        while (found := page.evaluate(TIMES))["first_paint_ms"] is None:
            page.wait_for_timeout(20)
        told = {one["name"]: one["value"] for one in debugger.send("Performance.getMetrics")["metrics"]}
        return dict(found) | {name: 1_000 * told[key] for key, name in CPU.items()}


def main() -> None:
    """Print the medians of each path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("paths", nargs="*", default=["/"])
    parser.add_argument("--looks", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=FLAGS) as browser:
        for place in given.paths:
            looks = [look(browser, given.url.rstrip("/") + place) for _ in range(given.looks + 1)][1:]
            medians: dict[str, Any] = {key: round(statistics.median(one[key] for one in looks)) for key in looks[0]}
            medians |= {"path": place, "load": round(os.getloadavg()[0], 1)}
            print(json.dumps(medians) if given.json else medians)


if __name__ == "__main__":
    main()
