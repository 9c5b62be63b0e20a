"""The whole way in a real browser, with real fine-tuning: from a file on somebody's disk to the answers of a model."""

import csv
import io
import re
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Download, Page, expect

from tests.support.looks import Look
from tests.support.served import Served, environment
from tests.support.tiny import tiny_csv, tiny_model, tiny_rows

SLOW = 60_000  # milliseconds that a worker may take on a busy machine


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A real `luthier serve` with its worker, that may read a tiny model and no data."""
    tiny_model(tmp_path / "tiny" / "model", layers=3)
    served = Served(environment(tmp_path / "home", tmp_path / "tiny", LUTHIER_LEASE_SECONDS="60"))
    served.start()
    yield served
    served.kill(signal.SIGTERM)
    served.client.close()


@pytest.mark.full
@pytest.mark.timeout(240)
def test_an_uploaded_table_becomes_a_model_that_answers(page: Page, served: Served, tmp_path: Path) -> None:
    look = Look(page, f"http://127.0.0.1:{served.port}")
    page.set_default_timeout(SLOW)
    expect.set_options(timeout=SLOW)
    try:
        _start(look, tiny_csv(tmp_path / "mail.csv", rows=160), str(tmp_path / "tiny" / "model"))
        _watch_and_stop(look)
        _go_on(look)
        _use(look)
        _clean_up(look)
    finally:
        expect.set_options(timeout=5_000)
    assert look.faults == []
    page.goto("about:blank")


def _start(look: Look, file: Path, model: str) -> None:
    """Upload a table, look at it, begin a study with it, and start that."""
    page = look.at("/data")
    page.get_by_label("Upload a table").set_input_files(file)
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_role("heading", name="mail.csv")).to_be_visible()
    expect(page.get_by_role("row", name="label")).to_contain_text("joy 50 %")
    page.get_by_role("link", name="New study with it").click()
    expect(page.get_by_label("task", exact=True)).to_have_value("text-classification")
    expect(page.get_by_label("label", exact=True)).to_have_value("label")
    written = page.get_by_label("The spec")
    expect(written).to_have_value(re.compile("preset: good"))
    page.get_by_text("What is in the data").click()
    expect(page.get_by_role("row", name="label")).to_be_visible()
    spec = yaml.safe_load(written.input_value()) | {"name": "mail", "model": model, "budget": {"trials": 2}}
    del spec["preset"]
    spec["space"] = {
        "learning_rate": {"low": 1e-3, "high": 5e-3},
        "batch_size": 8,
        "epochs": 1000,
    }  # until it is stopped
    written.fill(yaml.safe_dump(spec | {"pruner": {"name": "none"}}))
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="mail")).to_be_visible()


def _watch_and_stop(look: Look) -> None:
    """Add a configuration, watch the curve and the log of the first trial move, and stop both."""
    page = look.page
    page.get_by_role("link", name="Try a configuration…").click()
    page.get_by_label("learning rate").fill("0.002")
    page.get_by_role("button", name="Run it next").click()
    page.goto(f"{look.url}/studies/mail")
    curve = page.locator("#live .chart > svg path")
    expect(curve.first).to_be_visible()
    before = curve.first.get_attribute("d")
    expect(curve.first).not_to_have_attribute("d", before or "")
    page.locator("#to-0").click()
    log = page.get_by_role("log")
    expect(log).not_to_be_empty()
    shown = log.inner_text()
    expect(log).not_to_have_text(shown)
    _stop(page, 0)
    page.get_by_role("link", name="Trial 1").click()
    _stop(page, 1)


def _stop(page: Page, number: int) -> None:
    expect(page.get_by_role("heading", name=f"Trial {number} of mail")).to_be_visible()
    expect(page.locator(".chart").first).to_be_visible()  # it has an evaluation to be complete with
    page.get_by_role("button", name="Stop…").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#live .state.complete")).to_be_visible()


def _go_on(look: Look) -> None:
    """Wait for the winner, extend the study by a trial, stop that too, and compare it with the baseline."""
    page = look.at("/studies/mail")
    expect(page.locator("#actions .state")).to_have_text("completed")
    page.get_by_role("link", name="Extend…").click()
    expect(page.get_by_label("Trials (now 2; used 2)")).to_have_value("3")
    page.get_by_role("button", name="Extend").click()
    expect(page.locator("#actions .state")).to_have_text("running")
    page.locator("#to-2").click()
    _stop(page, 2)
    page.get_by_role("link", name="Compare with the baseline").click()
    expect(page.get_by_role("row", name="learning rate")).to_be_visible()
    expect(page.locator(".chart > svg path")).to_have_count(2)


def _use(look: Look) -> None:
    """Look at the winner's tables, download it, and have it answer a table."""
    page = look.at("/studies/mail")
    expect(page.locator("#actions .state")).to_have_text("completed")
    page.get_by_role("link", name="Results").click()
    expect(page.get_by_role("region", name="Confusion, on test")).to_contain_text("joy")
    assert look.violations() == []
    page.go_back()
    with page.expect_download() as told:
        page.get_by_text("Download", exact=True).click()
        page.get_by_role("link", name="Model (").click()
    with tarfile.open(fileobj=io.BytesIO(_content(told.value))) as packed:
        assert "model.safetensors" in packed.getnames()
    page.get_by_role("link", name="Predict…").click()
    assert look.violations() == []
    rows = [text for text, _ in tiny_rows(8, seed=3)]
    table = "text\n" + "".join(f"{text}\n" for text in rows)
    page.get_by_label("A table to answer").set_input_files(
        {"name": "new.csv", "mimeType": "text/csv", "buffer": b"words\nhello\n"}
    )
    page.get_by_role("button", name="Predict").click()
    expect(page.get_by_text("no column 'text'")).to_be_visible()
    page.get_by_label("A table to answer").set_input_files(
        {"name": "new.csv", "mimeType": "text/csv", "buffer": table.encode()}
    )
    page.get_by_role("button", name="Predict").click()
    with page.expect_download() as told:
        page.get_by_role("link", name="Download the csv").click()
    answers = list(csv.DictReader(io.StringIO(_content(told.value).decode())))
    assert [row["text"] for row in answers] == rows
    assert {row["prediction"] for row in answers} <= {"joy", "anger"}


def _content(download: Download) -> bytes:
    return Path(download.path()).read_bytes()


def _clean_up(look: Look) -> None:
    """Delete a prediction, a trial and, in the end, the study; find it by a tag before."""
    page = look.page
    page.get_by_role("button", name="Delete…").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("link", name="Download the csv")).to_have_count(0)
    page.get_by_role("link", name="mail").click()
    page.get_by_text("Tags, notes").click()
    page.get_by_label("Tags, one on a line").fill("mail\n<i>x</i>")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="<i>x</i>").click()
    expect(page.locator("#studies tbody tr")).to_have_count(1)
    page.locator("#to-mail").click()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("There is no study yet.")).to_be_visible()
