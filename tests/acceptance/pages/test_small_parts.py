"""Small parts of pages in a real browser: the ONNX file in the menu of downloads, a trial that waits."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from luthier.studies.protocol import AssignmentKind
from tests.support.harness import running
from tests.support.looks import Look


@pytest.mark.full
def test_they_follow_a_worker_where_they_stand(page: Page, tmp_path: Path) -> None:
    with running(tmp_path / "home", None, lease_seconds=600) as house:
        worker = house.worker()
        house.finished(budget={"trials": 1})
        look = Look(page, house.url)
        look.as_seen("dark", 400)
        look.at("/studies/s1").get_by_text("Download", exact=True).click()
        page.get_by_role("button", name="Make an ONNX file").click()
        expect(page.get_by_text("It waits for a worker.")).to_be_visible()
        assert (look.violations(), look.overflow()) == ([], 0)
        page.get_by_role("button", name="Delete…").first.click()
        asked = page.get_by_role("dialog", name="Delete the ONNX file of s1?")
        with page.expect_event("requestfinished", lambda request: request.url.endswith("/onnx"), timeout=10_000):
            asked.get_by_role("button", name="Go back").click()
        worker.drain()
        expect(page.get_by_role("link", name="ONNX file (")).to_be_visible(timeout=10_000)
        house.create("s2", budget={"trials": 2})
        house.client.post("/v1/studies/s2/trials", json={"params": {"learning_rate": 1e-4}}).raise_for_status()
        look.at("/studies/s2").get_by_role("link", name="trial 1").click()
        expect(page.get_by_role("button", name="Delete…")).to_be_visible()
        assert (look.violations(), look.overflow()) == ([], 0)
        worker.inspect(worker.take(AssignmentKind.INSPECT))
        worker.take()
        expect(page.get_by_role("heading", name="Log")).to_be_visible(timeout=10_000)
        assert look.faults == []
