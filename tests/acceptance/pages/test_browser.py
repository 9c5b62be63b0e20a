"""The pages a person sees, in a real browser: the login, the dashboard behind it, a plot."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from luthier.service.server.embedded import Embedded
from luthier.service.settings import Settings

TRANSFERRED = "performance.getEntriesByType('resource').map(entry => [entry.name, entry.transferSize])"  # bytes
INSPECTION = {
    "blocks": [{"name": "block.0", "parameters": 10}],
    "trainable_parameters": [12, 2],
    "label_names": ["a", "b"],
    "labels": {"a": 1, "b": 1},
    "rows": {"train": 2, "validation": 1, "test": 0},
    "fingerprint": "none",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A service with a token, and a study of three trials that a worker of the test made up."""
    with Embedded(Settings(home=tmp_path_factory.mktemp("home")), study="violins", fleet="none") as running:
        user = httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {running.token}"})
        worker = httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {running.tokens.fleet}"})
        spec = {"name": "violins", "task": "text-classification", "model": "m", "dataset": {"source": "d.csv"}}
        spec |= {"space": {"learning_rate": {"low": 1e-5, "high": 1e-3}, "epochs": 2}, "budget": {"trials": 3}}
        with user, worker:
            user.post("/v1/studies", json=spec).raise_for_status()
            while (claimed := worker.post("/v1/worker/claim", json={"worker": "w"})).status_code == 200:
                held = {key: claimed.json()[key] for key in ("id", "token")}
                ends = {"inspect": {"status": "complete", "inspection": INSPECTION}, "train": {"status": "complete"}}
                if claimed.json()["kind"] == "train":
                    score = {"step": 1, "metrics": {"accuracy": claimed.json()["number"] / 4}}
                    worker.post("/v1/worker/report", json=held | score).raise_for_status()
                end = ends.get(claimed.json()["kind"], {"status": "failed", "reason": "error"})
                worker.post("/v1/worker/finish", json=held | end).raise_for_status()
        yield running


def log_in(page: Page, service: Embedded, path: str, token: str) -> None:
    page.goto(service.url + path)
    page.get_by_label("Token of this service").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_a_wrong_token_is_told_and_the_right_one_leads_on(page: Page, service: Embedded) -> None:
    log_in(page, service, "/dashboard", "not the token")
    expect(page.get_by_role("alert")).to_have_text("That is not this service's token.")
    log_in(page, service, "/dashboard", service.token)
    expect(page.get_by_text("violins")).to_be_visible(timeout=30_000)  # the dashboard is built for its first request
    assert page.url.startswith(service.url + "/dashboard")
    (cookie,) = page.context.cookies()
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Strict"


@pytest.mark.full
def test_the_dashboard_draws_a_study(page: Page, service: Embedded) -> None:
    log_in(page, service, "/dashboard", service.token)
    page.get_by_text("violins").click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    expect(page.locator(".main-svg").first).to_be_visible()


def test_a_plot_is_a_page_of_its_own(page: Page, service: Embedded) -> None:
    log_in(page, service, "/dashboard", service.token)
    page.goto(f"{service.url}/v1/studies/violins/plots/history?format=html")
    expect(page.locator(".main-svg").first).to_be_visible()
    expect(page.get_by_text("Trial", exact=True).first).to_be_visible()
    page.goto(f"{service.url}/v1/studies/violins/plots/timeline")
    expect(page.locator(".main-svg").first).to_be_visible()
    sizes = [entry for entry in page.evaluate(TRANSFERRED) if "/assets/" in entry[0]]
    assert len(sizes) == 2
    assert all(transferred == 0 for _, transferred in sizes)  # the browser has kept them


def test_a_plot_is_kept_as_a_file_that_needs_no_service(page: Page, service: Embedded, tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {service.token}"}
    answer = httpx.get(f"{service.url}/v1/studies/violins/plots/history?standalone=true", headers=headers)
    file = tmp_path / "history.html"
    file.write_bytes(answer.content)
    page.route("http*://**", lambda route: route.abort())
    page.goto(file.as_uri())
    expect(page.locator(".main-svg").first).to_be_visible()


def test_the_description_of_the_routes_asks_no_other_host(page: Page, service: Embedded) -> None:
    asked: list[tuple[str, int]] = []
    page.on("response", lambda answer: asked.append((answer.url, answer.status)))
    page.goto(service.url + "/login")
    log_in(page, service, "/docs", service.token)
    expect(page.get_by_text("/v1/studies/{name}/trials").first).to_be_visible()
    assert all(url.startswith((service.url, "data:")) and status < 400 for url, status in asked), asked
