"""A page follows a study in a browser, with the cookie of the login, also while streams end and come again."""

from pathlib import Path

from playwright.sync_api import Page

from luthier.service.server.app import Tokens
from luthier.service.server.timings import Timings
from tests.support.harness import running
from tests.support.waiting import until

FOLLOW = """
() => {
    window.told = [];
    const events = new EventSource("/v1/studies/s1/events?kind=report&kind=study");
    events.addEventListener("report", (event) => told.push(JSON.parse(event.data).step));
    events.addEventListener("open", () => { window.opened = (window.opened || 0) + 1; });
    events.addEventListener("study", (event) => { window.state = JSON.parse(event.data).state; });
}
"""


def test_a_page_gets_every_evaluation_once(page: Page, tmp_path: Path) -> None:
    short = Timings(scheduler_seconds=3600.0, event_look_seconds=0.02, event_stream_seconds=0.5)
    with running(tmp_path, None, Tokens("user-token-0123456789", None), timings=short) as house:
        worker = house.worker()
        house.started(worker, budget={"trials": 1}, space={"learning_rate": 1e-4, "epochs": 3})
        page.goto(f"{house.url}/login?next=/docs")
        page.get_by_label("Token of this service").fill("user-token-0123456789")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/docs")
        page.evaluate(FOLLOW)
        until(lambda: page.evaluate("window.state === 'running'"))
        trial = worker.take()
        for step in (1, 2, 3):
            seen = trial.checkpoint.model_copy(update={"step": step - 1})
            worker.train(trial.model_copy(update={"checkpoint": seen}), 1)
            wanted = f"told.length === {step} && opened >= {step}"  # each over another stream
            until(lambda wanted=wanted: page.evaluate(wanted))
        assert page.evaluate("told") == [1, 2, 3]
        page.goto("about:blank")
