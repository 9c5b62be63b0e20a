"""The HTML pages show what they are given, and what they are given is never markup."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from jinja2 import UndefinedError

from luthier.service.api.pages import duration, render
from luthier.service.schedules.plots import draw_champion
from luthier.service.schemas import ChampionView, RunView, ScheduleView
from luthier.studies.schedule_runs import RunOutcome, RunState, SkipReason

AT = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
HOSTILE = '</td><script>alert(1)</script>"onload="x\'&<'
FRAME: dict[str, Any] = {  # what `site.page.show` gives
    **{
        "here": "/schedules",
        "logged_in": True,
        "may_write": True,
        "live_seconds": 4,
        "poll_seconds": 4,
        "events": None,
        "project": "default",
        "projects": ["default"],
        "may_admin": True,
    },
    **{"page": 1, "more": False, "there": {"nightly-2"}, "shown_buttons": []},
}
SPEC = {"cron": "0 3 * * *", "timezone": "UTC"}


def run(**changes: Any) -> RunView:
    plain = RunView(id=1, due_at=AT, trigger="schedule", state=RunState.FINISHED, created_at=AT)
    return plain.model_copy(update=changes)  # nothing is validated: it may hold what no row can


def champion(**changes: Any) -> ChampionView:
    plain = ChampionView(
        run=1, study="nightly-1", trial=4, params={}, test={}, promoted_at=AT, url="/x", sha256="0" * 64, bytes=1
    )
    return plain.model_copy(update=changes)


def schedule(**changes: Any) -> ScheduleView:
    plain = ScheduleView(name="nightly", state="active", created_at=AT, spec=SPEC, next=[AT], last_runs=[])
    return plain.model_copy(update=changes)


def text(template: str, **values: Any) -> str:
    """The page, with the blanks between its tags left out."""
    answer = render(template, **values)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return re.sub(r"\s*\n\s*", "", bytes(answer.body).decode())


def test_schedules_are_a_table() -> None:
    runs = [run(outcome=RunOutcome.PROMOTED), run(score=0.75), run(score=0.5)]
    page = text("schedules.html", **FRAME, schedules=[schedule(last_runs=runs), schedule(name="bare", next=[])])
    assert '<a href="/schedules/nightly"><strong>nightly</strong></a>' in page
    assert "<code>0 3 * * *</code> (UTC)" in page
    assert f'<time datetime="{AT.isoformat()}">2026-11-26 03:00 UTC</time>' in page
    assert '<span class="state promoted">promoted</span></td><td class="number" data-label="score">0.7500</td>' in page
    assert '<td data-label="next">-</td><td data-label="last run">-</td><td class="number" data-label="score">-' in page
    assert "There is none yet" not in page
    assert "<title>Schedules</title>" in page
    assert "<h1>Schedules</h1>" in page
    assert "There is none yet" in text("schedules.html", **FRAME, schedules=[])


def test_a_schedule_shows_its_facts_and_its_runs() -> None:
    runs = [
        run(outcome=RunOutcome.KEPT, score=0.25, study="nightly-2", message="p = 0.4"),
        run(state=RunState.SKIPPED, reason=SkipReason.UNCHANGED),
    ]
    shown = schedule(champion=champion(test={"accuracy": 0.9, "loss": None}), next=[AT, AT])
    page = text("schedule.html", **FRAME, schedule=shown, runs=runs)
    time = f'<time datetime="{AT.isoformat()}">2026-11-26 03:00 UTC</time>'
    assert f"<dt>next</dt><dd>{time}, {time}</dd>" in page
    assert "<dt>champion</dt><dd>trial 4 of nightly-1</dd>" in page
    assert "<dt>its test scores</dt><dd>accuracy 0.9000, loss -</dd>" in page
    assert f"<dt>in use since</dt><dd>{time}</dd>" in page
    assert 'src="/v1/schedules/nightly/plots/champion"></iframe>' in page
    assert '>kept</span></td><td class="number" data-label="score">0.2500</td><td class="whole">p = 0.4</td>' in page
    assert '<a id="run-1" href="/studies/nightly-2">nightly-2</a>' in page
    assert '>skipped</span></td><td class="number" data-label="score">-</td><td class="whole">unchanged</td>' in page
    page = text("schedule.html", **FRAME, schedule=schedule(next=[]), runs=[])
    assert "<dt>next</dt><dd>-</dd><dt>champion</dt><dd>none yet</dd><dt>its test scores</dt><dd>-</dd></dl>" in page


def test_times_and_sizes_are_for_people() -> None:
    told = {0.04: "0.0 s", 9.96: "10.0 s", 59: "59 s", 60: "1 min", 61: "1 min 1 s", 3_600: "1 h", 90_000: "1 d 1 h"}
    assert {seconds: duration(seconds) for seconds in told} == told
    assert duration(None) == duration(float("inf")) == "-"


def test_no_text_becomes_markup() -> None:
    hostile = schedule(
        name=HOSTILE,
        state=HOSTILE,
        spec={"cron": HOSTILE, "timezone": HOSTILE},
        champion=champion(study=HOSTILE, test={HOSTILE: 0.5}),
        last_runs=[run(message=HOSTILE, study=HOSTILE)],
    )
    pages = [
        text("schedules.html", **FRAME, schedules=[hostile]),
        text("schedule.html", **FRAME, schedule=hostile, runs=hostile.last_runs),
        text("login.html", next=HOSTILE, message=HOSTILE),
    ]
    for page in pages:
        assert "alert(1)</script>" not in page
        assert '"onload' not in page
        assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#34;onload=&#34;x&#39;&amp;&lt;" in page


def test_a_page_that_lacks_a_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("login.html", next="/dashboard")


def test_a_plot_of_one_run_has_axes_for_people() -> None:
    first = run(outcome=RunOutcome.FIRST, score=0.75, study="nightly-1")
    layout = json.loads(draw_champion("nightly", "accuracy", [first]))["layout"]
    low, high = (datetime.fromisoformat(at) for at in layout["xaxis"]["range"])
    assert low < AT < high
    assert (high - low).days == 2
    assert layout["yaxis"]["rangemode"] == "tozero"
    second = first.model_copy(update={"due_at": AT.replace(day=27)})
    assert "range" not in json.loads(draw_champion("nightly", "accuracy", [first, second]))["layout"]["xaxis"]
