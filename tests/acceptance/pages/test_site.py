"""The pages at `/` in a real browser: looked at, steered by, and clean for everybody, with hostile text in them."""

import hashlib
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from luthier.studies.protocol import AssignmentKind
from luthier.studies.uploads import dataset_id
from tests.support.harness import Running, running
from tests.support.looks import Look
from tests.support.uploads import upload

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
TABLES = {
    "rows": 15,
    "metrics": {"accuracy": 0.75},
    "classes": [{"label": HOSTILE, "precision": 0.5, "recall": None, "f1": 0.4, "support": 5, "predicted": 6}],
    "confusion": {"labels": ["ham", HOSTILE], "counts": [[9, 1], [0, 5]]},
    "calibration": {
        "expected_error": 0.1,
        "bins": [{"low": 0.9, "high": 1.0, "count": 9, "confidence": 0.95, "accuracy": 0.8}],
    },
    "residuals": {"quantiles": {"0.5": 0.1}, "points": [[1.0, 1.5], [2.0, 1.75]]},
    "worst": [{"row": 3, "input": HOSTILE, "truth": "ham", "prediction": HOSTILE, "score": 0.9, "loss": 2.5}],
}
TABLE = f"{HOSTILE},stars\n".encode() + b"".join(b"a review of some words %d,%d\n" % (n, n % 5) for n in range(60))
DATA = dataset_id("csv", hashlib.sha256(TABLE).hexdigest())
PAGES = [
    *("/", "/?state=failed", "/studies/done", "/studies/broken", "/studies/done/trials/1", "/studies/alive/trials/0"),
    *(
        "/compare?study=done&study=alive",
        "/workers",
        "/usage",
        "/tokens",
        "/audit",
        "/projects",
        "/schedules",
        "/new",
        "/studies/done/timeline",
    ),
    *(
        "/studies/done/results",
        "/studies/done/predict",
        "/studies/done/extend",
        "/new?from=done",
        "/studies/alive/enqueue",
    ),
    *("/studies/done/change", "/data", f"/data/{DATA}", f"/data/{DATA}/preview", f"/new?data={DATA}"),
]
LOOKS = [  # besides a phone in the dark
    ("light", 1280),
    pytest.param("light", 400, marks=pytest.mark.wide),
    pytest.param("dark", 1280, marks=pytest.mark.wide),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with a study that is done, one that has failed, and one with a trial in training, all with markup."""
    with running(tmp_path_factory.mktemp("home"), None, lease_seconds=600) as house:  # longer than all looks together
        worker = house.worker()
        labels = {HOSTILE: 60, "spam": 40}
        worker.inspection = worker.inspection.model_copy(update={"labels": labels, "label_names": list(labels)})
        house.create("done")
        worker.evaluation = {"results": {"test": TABLES}}
        worker.drain()
        worker.drain()
        predicted = house.client.post("/v1/studies/done/predict?format=csv", content=b"text\nhello\n")
        assert predicted.status_code == 202
        worker.drain()
        changes = {"tags": [HOSTILE[:50], "german"], "notes": f"see {HOSTILE}"}
        house.client.patch("/v1/studies/done", json=changes).raise_for_status()
        upload(house, TABLE, f"{HOSTILE}.csv".replace("/", ""))
        house.create("broken")
        inspection = worker.take(AssignmentKind.INSPECT)
        worker.finish(inspection, "failed", reason="bad_data", problem={"message": f"{HOSTILE} is no file."})
        house.started(worker, "alive", budget={"trials": 1})
        first = worker.take()
        worker.report(first, 1, 0.5, log=f"epoch 1\n{HOSTILE}\n")
        yield house


@pytest.fixture
def look(house: Running, page: Page) -> Iterator[Look]:
    """The browser's page on this service; it asks no other host, and its console stays silent."""
    look = Look(page, house.url)
    yield look
    assert look.faults == []


def clean(look: Look, pages: list[str]) -> None:
    """Check that axe finds nothing on the pages, none is wider than its window, and markup stays text."""
    for path in pages:
        look.at(path)
        assert look.violations() == [], path
        assert look.overflow() <= 0, path


def test_pages_are_clean_in_the_dark_on_a_phone(look: Look) -> None:
    look.as_seen("dark", 400)
    clean(look, PAGES)
    page = look.at("/studies/broken")
    expect(page.get_by_text(f"{HOSTILE} is no file.").first).to_be_visible()
    page = look.at("/studies/alive/trials/0")
    expect(page.get_by_role("log")).to_contain_text(HOSTILE)
    page = look.at("/studies/done")
    page.get_by_text("Data: 70 train").click()
    expect(page.get_by_role("cell", name=HOSTILE)).to_be_visible()
    expect(page.get_by_text(f"see {HOSTILE}").first).to_be_visible()


@pytest.mark.full
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_pages_are_clean_in_every_look(look: Look, scheme: str, width: int) -> None:
    look.as_seen(scheme, width)
    clean(look, PAGES)


def test_axe_finds_what_is_wrong(look: Look) -> None:
    look.at("/login").evaluate("document.querySelector('label').remove()")
    assert any(found.startswith("label:") for found in look.violations())


def test_a_study_is_written_started_followed_steered_and_deleted(look: Look, house: Running) -> None:
    worker = house.worker("w2")
    page = look.at("/")
    page.get_by_role("link", name="New study").click()
    written = page.get_by_label("The spec")
    document = written.input_value().replace("my-study", "by-hand").replace("models/my-model", "models/tiny")
    written.fill(document.replace("batch_size: [8, 16, 32]", "batch_sizes: [8]"))
    page.get_by_role("button", name="Start").click()
    line = document.splitlines().index("  batch_size: [8, 16, 32]") + 1
    expect(page.get_by_role("alert")).to_contain_text(f"line {line}: space.batch_sizes: unknown hyperparameter")
    number, told = page.locator(".lines mark"), page.locator(".faults mark")
    expect(number).to_have_text(str(line))
    expect(told).to_contain_text("unknown hyperparameter")
    tops = [place["y"] for mark in (number, told) if (place := mark.bounding_box())]
    assert abs(tops[0] - tops[1]) < 4
    written.fill(document)
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="by-hand")).to_be_visible()
    expect(page.locator("#actions .state")).to_have_text("queued")

    worker.inspect(worker.take(AssignmentKind.INSPECT))
    a = worker.take()
    worker.report(a, 1, 0.25)
    worker.report(a, 2, 0.5, log="the second epoch\n")
    expect(page.locator("#actions .state")).to_have_text("running", timeout=10_000)  # by an event
    curve = page.locator("#live .chart > svg path")
    expect(curve).to_have_count(1, timeout=10_000)
    before = curve.get_attribute("d")
    page.get_by_role("link", name="0", exact=True).click()
    expect(page.get_by_role("log")).to_contain_text("the second epoch")
    worker.report(a, 3, 0.75, log="the third epoch\n")
    expect(page.get_by_role("log")).to_contain_text("the third epoch", timeout=10_000)
    page.get_by_role("link", name="by-hand").click()
    assert curve.get_attribute("d") != before

    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#actions .state")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#actions .state")).to_have_text("running")
    page.get_by_role("button", name="Cancel…").click()
    asked = page.get_by_role("dialog", name="Cancel by-hand?")
    expect(asked).to_contain_text("their work is lost")
    asked.get_by_role("button", name="Go back").click()
    assert house.study("by-hand")["state"] == "running"
    page.get_by_role("button", name="Cancel…").click()
    asked.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator("#actions .state")).to_have_text("cancelled")
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", name="Studies")).to_be_visible()
    assert house.client.get("/v1/studies/by-hand").status_code == 404


def test_an_evaluation_touches_the_parts_that_show_it(look: Look, house: Running) -> None:
    worker = house.worker("w4")
    house.started(worker, "heard", budget={"trials": 1})
    first = worker.take()
    worker.report(first, 1, 0.5)
    asked: list[str] = []
    page, table = look.page, "**/studies/heard/table*"
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_request(table):  # once the stream is open, everything is asked for again
        look.at("/studies/heard?state=complete")
    asked.clear()
    curve = page.locator("#live .chart > svg path")
    before = curve.get_attribute("d") or ""
    worker.report(first, 2, 0.75)
    expect(curve).not_to_have_attribute("d", before, timeout=10_000)
    assert [url for url in asked if "/table" in url] == []
    with page.expect_request(table):
        look.at("/studies/heard")
    with page.expect_request(table):
        worker.report(first, 3, 0.8)


def test_ticked_studies_and_trials_are_compared(look: Look) -> None:
    page = look.at("/")
    for name in ("done", "alive"):
        page.get_by_role("checkbox", name=f"Compare {name}").check()
    page.get_by_role("button", name="Compare the ticked ones").click()
    expect(page.get_by_role("row", name="budget.trials")).to_contain_text("4")
    expect(page.get_by_role("row", name="budget.trials")).to_contain_text("1")
    expect(page.get_by_text("dataset.source")).to_have_count(0)  # the same in both
    page = look.at("/studies/done?sort=-value")
    for tick in page.get_by_role("checkbox", name="Compare trial").all()[:3]:
        tick.check()
    page.get_by_role("button", name="Compare the ticked ones").click()
    expect(page.locator(".chart > svg path")).to_have_count(3)


def test_a_plot_is_loaded_when_it_is_opened(look: Look) -> None:
    asked: list[str] = []
    look.page.on("request", lambda request: asked.append(request.url))
    page = look.at("/studies/done")
    assert not any("/plots/" in address for address in asked)
    page.get_by_text("Parallel coordinates").click()
    plot = page.frame_locator("iframe[title='Parallel coordinates']").locator(".main-svg").first
    expect(plot).to_be_visible(timeout=30_000)  # the library that draws is imported for the first plot
    page.get_by_text("Timeline by worker").click()
    expect(page.get_by_role("img", name="trials of w1")).to_be_visible()


def test_columns_and_order_are_chosen(look: Look) -> None:
    page = look.at("/studies/done")
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("batch size").uncheck()
    page.get_by_label("Worker").check()
    page.get_by_role("button", name="Show these").click()
    page.get_by_role("link", name="learning rate").click()
    expect(page.get_by_role("columnheader", name="learning rate")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("columnheader", name="batch size")).to_have_count(0)
    rates = [float(text) for text in page.locator("#table tbody td:nth-child(6)").all_inner_texts()]
    assert len(rates) == 4
    assert rates == sorted(rates, reverse=True)


def test_the_dashboard_shows_no_button_that_writes(look: Look) -> None:
    page = look.at("/studies/done/dashboard")
    expect(page.locator(".main-svg").first).to_be_visible(timeout=30_000)
    page.get_by_text("Back to Luthier").click()
    expect(page.get_by_role("heading", name="done")).to_be_visible()
    page = look.at("/dashboard")
    expect(page.get_by_text("1. done")).to_be_visible(timeout=30_000)
    for name in ("rename study", "delete study", "Create"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_a_spec_as_long_as_it_gets_is_refused_beside_it(look: Look) -> None:
    page = look.at("/new")
    page.get_by_label("The spec").evaluate(
        "(area) => (area.value = 'name: long\\n' + '# a line of it\\n'.repeat(20000))"
    )
    page.get_by_role("button", name="Plan").click()
    expect(page.get_by_role("alert")).to_contain_text("a document has at most 256 KB")
    expect(page.locator(".lines")).to_contain_text("20001")
    assert look.overflow() <= 0
