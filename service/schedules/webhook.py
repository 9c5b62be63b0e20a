"""Notifications of runs, as signed HTTP POSTs by the Standard Webhooks specification 1.0.0.

`steps.py` queues them within its own transactions, the scheduler delivers them. The package standardwebhooks signs.
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
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import standardwebhooks
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from luthier.service.schedules.views import run_views
from luthier.service.settings import Settings
from luthier.service.storage.database import Database, changed_rows
from luthier.service.storage.tables import DeliveryRow, RunRow, ScheduleRow
from luthier.studies.schedule import Event

log = logging.getLogger("luthier")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole addresses, and many a hook's is a secret
TIMEOUT_SECONDS = 10.0  # for the whole of an attempt
PAUSES_SECONDS = (20.0, 60.0, 300.0, 1800.0, 7200.0)  # after each attempt that failed; after the last it is given up
AT_ONCE = 20  # notifications in one round


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
    body = {
        "type": f"run.{event}",
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
        "data": {"schedule": schedule.name, "run": view.model_dump(mode="json")},
    }
    text = json.dumps(body, ensure_ascii=False)
    session.add(DeliveryRow(schedule_id=schedule.id, event=event, body=text, next_at=now, created_at=now))


@dataclass(frozen=True)
class Webhook:
    """The receiver of all notifications of a service.

    Attributes:
        url: Address of the receiver, http or https.
        secret: Key of the signatures: `whsec_` and base64, or any text. None: notifications are not signed.
    """

    url: str
    secret: str | None

    @classmethod
    def of(cls, settings: Settings) -> "Webhook | None":
        """Return the webhook that the settings name, or None where they name none."""
        if settings.webhook_url is None:
            return None
        secret = settings.webhook_secret
        return cls(settings.webhook_url.get_secret_value(), secret.get_secret_value() if secret else None)

    def deliver(self, database: Database) -> None:
        """Send the notifications that are due. Services share the work; a failed one is sent again after a pause.

        Nothing is sent within a transaction.
        """
        with database.reading() as session:
            due = select(DeliveryRow.id).where(DeliveryRow.next_at <= database.now()).order_by(DeliveryRow.next_at)
            delivery_ids = list(session.scalars(due.limit(AT_ONCE)))
        for delivery_id in delivery_ids:
            delivery = self._claim(database, delivery_id)
            if delivery is None:
                continue
            problem = self._send(delivery)
            with database.transaction() as session:
                columns = {"error": problem} | ({} if problem else {"next_at": None, "delivered_at": database.now()})
                changed_rows(session, update(DeliveryRow).where(DeliveryRow.id == delivery_id).values(**columns))

    def _claim(self, database: Database, delivery_id: int) -> DeliveryRow | None:
        """Count an attempt, and set when the next one is due should this one fail; None: another service has it."""
        with database.transaction() as session:
            due = DeliveryRow.next_at <= database.now()
            locked = select(DeliveryRow).where(DeliveryRow.id == delivery_id, due).with_for_update(skip_locked=True)
            delivery = session.scalar(locked)
            if delivery is None:
                return None
            pauses = PAUSES_SECONDS[delivery.attempts : delivery.attempts + 1]
            delivery.next_at = database.time(session) + pauses[0] if pauses else None
            delivery.attempts += 1
            return delivery

    def _send(self, delivery: DeliveryRow) -> str | None:
        """Send one notification; return None, or why the receiver did not take it, without the address."""
        headers = self.headers(f"delivery-{delivery.id}", datetime.now(UTC), delivery.body)
        try:
            status = asyncio.run(self._post(delivery.body.encode(), headers))
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
