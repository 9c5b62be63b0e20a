"""The pages about schedules, in a real browser: when it is due, what came of its runs, and the score over time."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.harness import Running, running
from tests.support.nightly import BETTER, Nightly


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A schedule with a champion that was promoted over another, a skipped due time and a failed run."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        it = Nightly(house, house.worker())
        it.run("a")
        it.run("a")
        it.worker.comparison = BETTER
        it.run("b")
        it.due()
        inspection = it.worker.claim()
        assert inspection is not None
        problem = {"message": "data/<sms>.csv does not exist."}
        it.worker.finish(inspection, "failed", reason="bad_data", problem=problem)
        house.tick(it.now)
        yield house


def test_all_schedules_lead_to_one_with_its_runs_and_a_plot(house: Running, page: Page) -> None:
    page.goto(f"{house.url}/schedules")
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("active")
    expect(row).to_contain_text("failed")
    expect(row).to_contain_text("0.9000")
    page.get_by_role("link", name="nightly").click()
    expect(page.get_by_role("heading", name="Schedule nightly")).to_be_visible()
    outcomes = page.locator("tbody tr td:nth-child(2)")
    expect(outcomes).to_have_text(["failed", "promoted", "skipped", "first"])
    expect(page.get_by_text("data/<sms>.csv does not exist.")).to_be_visible()
    expect(page.get_by_text("unchanged")).to_be_visible()
    expect(page.get_by_text("(p = 0.0065) is better than the champion")).to_be_visible()
    plot = page.frame_locator("iframe")
    expect(plot.locator(".main-svg").first).to_be_visible()
    expect(plot.get_by_text("model in use")).to_be_visible()


def test_a_schedule_is_steered_and_leads_to_its_studies(house: Running, page: Page) -> None:
    page.goto(f"{house.url}/schedules/nightly")
    state = page.locator(".actions .state")
    page.get_by_role("button", name="Pause").click()
    expect(state).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(state).to_have_text("active")
    champion = page.locator("#to-champion")
    promoted = champion.inner_text()
    page.get_by_role("button", name="Roll back…").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back", exact=True).click()
    expect(champion).not_to_have_text(promoted)
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    expect(page.locator("time + .local").first).to_contain_text("here")
    champion.click()
    expect(page.get_by_role("heading", name="Learning curves")).to_be_visible()


def test_a_page_of_no_schedule_is_a_problem(house: Running, page: Page) -> None:
    answer = page.goto(f"{house.url}/schedules/weekly")
    assert answer is not None
    assert answer.status == 404
