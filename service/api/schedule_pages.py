"""Pages about schedules for people: all of them, and one with its runs, its champion and the score over time."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from luthier.service.api.context import ServiceDep
from luthier.service.schedules import definitions as rows
from luthier.service.schedules import views as shown
from luthier.service.schemas import RunView, ScheduleView
from luthier.service.storage.tables import RunRow, ScheduleRow

router = APIRouter(include_in_schema=False)
RUNS = 30  # the latest that a page shows
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}
STYLE = """body{font:16px/1.5 system-ui;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{text-align:left;padding:.35rem .8rem .35rem 0;
border-bottom:1px solid #ddd;vertical-align:top}th{font-weight:600;color:#555}iframe{width:100%;height:30rem;border:0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem}dt{color:#555}dd{margin:0}
.failed{color:#b00}.promoted,.first{color:#070;font-weight:600}.skipped{color:#777}nav a{margin-right:1rem}"""


@router.get("/schedules")
def all_schedules(service: ServiceDep) -> HTMLResponse:
    with service.core.database.reading() as session:
        found = session.scalars(select(ScheduleRow).order_by(ScheduleRow.name)).all()
        views = [shown.schedule_view(session, row) for row in found]
    lines = [
        (
            f'<a href="/schedules/{escape(view.name)}">{escape(view.name)}</a>',
            escape(view.state),
            escape(f"{view.spec['cron']} ({view.spec['timezone']})"),
            _time(view.next[0] if view.next else None),
            _outcome(view.last_runs[0]) if view.last_runs else "-",
            _score(view.last_runs),
        )
        for view in views
    ]
    heads = ("schedule", "state", "cron", "next", "last run", "champion's score")
    empty = "" if views else "<p>There is none yet: <code>luthier schedule create -f SCHEDULE</code> makes one.</p>"
    return _page("Schedules", _table(heads, lines) + empty)


@router.get("/schedules/{name}")
def one_schedule(name: str, service: ServiceDep) -> HTMLResponse:
    with service.core.database.reading() as session:
        schedule = rows.find(session, name)
        last = select(RunRow).where(RunRow.schedule_id == schedule.id).order_by(RunRow.due_at.desc()).limit(RUNS)
        runs = shown.run_views(session, schedule, session.scalars(last).all())
        view = shown.schedule_view(session, schedule)
    heads = ("due", "outcome", "score", "why", "study")
    lines = [(_time(run.due_at), _outcome(run), _number(run.score), _why(run), escape(run.study or "")) for run in runs]
    plot = f'<iframe title="score over time" src="/v1/schedules/{escape(name)}/plots/champion"></iframe>'
    return _page(f"Schedule {name}", _facts(view) + plot + "<h2>Runs</h2>" + _table(heads, lines))


def _facts(view: ScheduleView) -> str:
    champion = view.champion
    tests = {} if champion is None else champion.test
    facts = {
        "state": view.state,
        "cron": f"{view.spec['cron']} ({view.spec['timezone']})",
        "next": ", ".join(f"{due:%Y-%m-%d %H:%M} UTC" for due in view.next) or "-",
        "champion": "none yet" if champion is None else f"trial {champion.trial} of {champion.study}",
        "its test scores": ", ".join(f"{name} {_number(value)}" for name, value in tests.items()) or "-",
    }
    if champion is not None:
        facts["in use since"] = f"{champion.promoted_at:%Y-%m-%d %H:%M} UTC"
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"


def _why(run: RunView) -> str:
    return escape(run.message or (f"{run.reason}".replace("_", " ") if run.reason else ""))


def _outcome(run: RunView) -> str:
    word = run.outcome or run.state
    return f'<span class="{escape(word)}">{escape(word)}</span>'


def _score(runs: Sequence[RunView]) -> str:
    return _number(next((run.score for run in runs if run.score is not None), None))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _time(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _page(title: str, body: str) -> HTMLResponse:
    nav = '<nav><a href="/schedules">Schedules</a><a href="/dashboard">Studies</a><a href="/docs">API</a></nav>'
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    page = f'<!doctype html><html lang="en">{head}<style>{STYLE}</style>{nav}<h1>{escape(title)}</h1>{body}</html>'
    return HTMLResponse(page, headers=HEADERS)
