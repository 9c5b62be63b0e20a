"""From a file on somebody's disk to a study, in a real browser, and its trial and tags steered."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from luthier.studies.protocol import AssignmentKind
from tests.support.harness import Running, running
from tests.support.looks import Look


@pytest.mark.full
def test_an_uploaded_table_becomes_a_study_whose_trial_is_stopped(page: Page, tmp_path: Path) -> None:
    with running(tmp_path, None) as house:
        look = Look(page, house.url)
        _go_through(look, house)
        assert look.faults == []
        page.goto("about:blank")


def _go_through(look: Look, house: Running) -> None:
    page = look.at("/data")
    lines = "".join(f"message number {n} of some words,{'good' if n % 3 else 'bad'}\n" for n in range(60))
    page.get_by_label("Upload a table").set_input_files(
        {"name": "mail.csv", "mimeType": "text/csv", "buffer": f"body,verdict\n{lines}".encode()}
    )
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_role("heading", name="mail.csv")).to_be_visible()
    expect(page.get_by_role("row", name="verdict")).to_contain_text("good 67 %", timeout=30_000)
    page.get_by_role("link", name="New study with it").click()
    expect(page.get_by_label("task", exact=True)).to_have_value("text-classification", timeout=30_000)
    expect(page.get_by_label("label", exact=True)).to_have_value("verdict")
    page.get_by_label("preset").select_option("quick")
    page.get_by_role("button", name="Write the spec").click()
    expect(page.get_by_label("The spec")).to_have_value(re.compile("preset: quick"))
    page.get_by_text("What is in the data").click()
    expect(page.get_by_role("row", name="verdict")).to_be_visible()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="mail")).to_be_visible()

    worker = house.worker("w3")
    worker.inspect(worker.take(AssignmentKind.INSPECT))
    first = worker.take()
    worker.report(first, 1, 0.5)
    page.goto(f"{house.url}/studies/mail/trials/0")
    page.get_by_role("button", name="Stop…").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("it ends at its next evaluation")).to_be_visible()
    worker.finish(first, "failed", reason="oom")
    page.get_by_role("button", name="Run it again").click()
    expect(page.get_by_role("heading", name="Trial 1 of mail")).to_be_visible()
    page.get_by_role("button", name="Stop…").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()  # it waits, and has no score
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("link", name="all 1", exact=True)).to_be_visible()
    page.get_by_text("Tags, notes").click()
    page.get_by_label("Tags, one on a line").fill("mail\n<i>x</i>")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="<i>x</i>").click()
    expect(page.locator("#studies tbody tr")).to_have_count(1)
