"""Notifications of runs and of ends of studies, as signed HTTP POSTs by the Standard Webhooks specification 1.0.0.

`steps.py` queues those of runs within its own transactions, `lifecycle/notices.py` those of studies; the scheduler
delivers them. The package standardwebhooks signs.
Delivery and the retry timer are our own: the package has neither, and a notification must be a row that is committed
together with its event. The URL and the secret are settings; never write them to the database or to the log. A receiver
checks that `webhook-signature` holds `v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`
(standardwebhooks.com).
"""

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import standardwebhooks
from pydantic import BaseModel
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from luthier.service.schedules.views import run_views
from luthier.service.settings import Settings
from luthier.service.storage.database import Database, changed_rows
from luthier.service.storage.schedule_tables import DeliveryRow, RunRow, ScheduleRow
from luthier.service.storage.tables import StudyDeliveryRow, StudyRow
from luthier.studies.schedule import Event

log = logging.getLogger("luthier")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole addresses, and many a hook's is a secret
TIMEOUT_SECONDS = 10.0  # for the whole of an attempt
PAUSES_SECONDS = (20.0, 60.0, 300.0, 1800.0, 7200.0)  # after each attempt that failed; after the last it is given up
AT_ONCE = 20  # notifications of each kind in one round

Delivery = DeliveryRow | StudyDeliveryRow
StudyAnswer = Callable[[Session, StudyRow], BaseModel]
MESSAGES: dict[type[Delivery], str] = {DeliveryRow: "delivery", StudyDeliveryRow: "study-delivery"}  # before their ids


def queue(session: Session, schedule: ScheduleRow, run: RunRow, event: Event, now: float) -> None:
    """Add the notification of an event to the caller's transaction; it is sent once that is committed.

    Args:
        session: The transaction that writes the event; it is flushed.
        schedule: The schedule of the run.
        run: The run that the event is about; the notification holds the run's view as REST answers it.
        event: The kind of event.
        now: Seconds since the epoch, by the database's clock.
    """
    session.flush()
    view = run_views(session, schedule, [run])[0]
    text = _text(
        f"run.{event}",
        now,
        {"project": schedule.project, "schedule": schedule.name, "run": view.model_dump(mode="json")},
    )
    session.add(DeliveryRow(schedule_id=schedule.id, event=event, body=text, next_at=now, created_at=now))


def _text(kind: str, now: float, data: dict[str, Any]) -> str:
    """Return a notification; `now` is in seconds since the epoch."""
    body = {"type": kind, "timestamp": datetime.fromtimestamp(now, UTC).isoformat(), "data": data}
    return json.dumps(body, ensure_ascii=False)


@dataclass(frozen=True)
class Webhook:
    """The receiver of all notifications of a service.

    Attributes:
        url: Address of the receiver, http or https.
        secret: Key of the signatures: `whsec_` and base64, or any text. None: notifications are not signed.
        answer: Returns a study as REST answers it; None where there are notifications of runs alone.
    """

    url: str
    secret: str | None
    answer: StudyAnswer | None = None

    @classmethod
    def of(cls, settings: Settings, answer: StudyAnswer) -> "Webhook | None":
        """Return the webhook that the settings name, or None where they name none."""
        if settings.webhook_url is None:
            return None
        secret = settings.webhook_secret
        return cls(settings.webhook_url.get_secret_value(), secret.get_secret_value() if secret else None, answer)

    def deliver(self, database: Database) -> None:
        """Send the notifications that are due. Services share the work; a failed one is sent again after a pause.

        Nothing is sent within a transaction.
        """
        for kind in MESSAGES:
            with database.reading() as session:
                due = select(kind.id).where(kind.next_at <= database.now()).order_by(kind.next_at)
                delivery_ids = list(session.scalars(due.limit(AT_ONCE)))
            for delivery_id in delivery_ids:
                delivery = self._claim(database, kind, delivery_id)
                if delivery is None:
                    continue
                problem = self._send(delivery)
                with database.transaction() as session:
                    columns = {"error": problem} | (
                        {} if problem else {"next_at": None, "delivered_at": database.now()}
                    )
                    changed_rows(session, update(kind).where(kind.id == delivery_id).values(**columns))

    def _claim(self, database: Database, kind: type[Delivery], delivery_id: int) -> Delivery | None:
        """Count an attempt, and set when the next one is due should this one fail; None: another service has it."""
        with database.transaction() as session:
            due = kind.next_at <= database.now()
            locked = select(kind).where(kind.id == delivery_id, due).with_for_update(skip_locked=True)
            delivery = cast(Delivery | None, session.scalar(locked))
            if delivery is None:
                return None
            if isinstance(delivery, StudyDeliveryRow) and delivery.body is None:
                delivery.body = self._study_text(session, delivery)
            pauses = PAUSES_SECONDS[delivery.attempts : delivery.attempts + 1]
            delivery.next_at = database.time(session) + pauses[0] if pauses else None
            delivery.attempts += 1
            return delivery

    def _study_text(self, session: Session, delivery: StudyDeliveryRow) -> str:
        """Return the notification of a study's end, with the study as REST answers it."""
        study = session.get_one(StudyRow, delivery.study_id)
        data = (
            {"name": study.name, "project": study.project}
            if self.answer is None
            else self.answer(session, study).model_dump(mode="json")
        )
        return _text(f"study.{delivery.event}", delivery.created_at, {"study": data})

    def _send(self, delivery: Delivery) -> str | None:
        """Send one notification; return None, or why the receiver did not take it, without the address."""
        body = delivery.body or ""
        headers = self.headers(f"{MESSAGES[type(delivery)]}-{delivery.id}", datetime.now(UTC), body)
        try:
            status = asyncio.run(self._post(body.encode(), headers))
            problem = None if 200 <= status < 300 else f"It answered {status}."
        except TimeoutError:
            problem = f"It did not answer within {TIMEOUT_SECONDS:g} seconds."
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = f"It could not be reached: {type(error).__name__}."
        if problem is not None:
            log.warning("the webhook did not take %s (attempt %d): %s", delivery.event, delivery.attempts, problem)
        return problem

    async def _post(self, body: bytes, headers: dict[str, str]) -> int:
        """Return the answer's status once its headers are there; redirects are not followed."""
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            httpx.AsyncClient(timeout=None) as client,  # noqa: S113 - the line before is its timeout
            client.stream("POST", self.url, content=body, headers=headers) as response,
        ):
            return response.status_code

    def headers(self, message_id: str, sent_at: datetime, body: str) -> dict[str, str]:
        """Return the headers of a notification.

        Args:
            message_id: Identifies the notification; the same in each attempt.
            sent_at: When this attempt is made, in UTC; the header holds whole seconds.
            body: The notification as JSON.

        Returns:
            Name -> value; with `webhook-signature` only where there is a secret.
        """
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
        }
        if self.secret is not None:
            headers["webhook-signature"] = standardwebhooks.Webhook(_key(self.secret)).sign(message_id, sent_at, body)
        return headers


def _key(secret: str) -> bytes:
    """Return the bytes of a secret: of `whsec_...` what its base64 holds, else those of the text itself.

    The package decodes any text as base64 and leaves out characters that are none, so it is given bytes.
    """
    prefix, _, encoded = secret.partition("whsec_")
    if prefix == "" and encoded:
        try:
            return base64.b64decode(encoded, validate=True)
        except binascii.Error:
            pass
    return secret.encode()
