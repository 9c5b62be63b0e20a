"""Notifications, as signed HTTP POSTs after the Standard Webhooks specification (standardwebhooks.com, version 1.0.0).

Where they go and what signs them are the service's settings, so neither is ever in the database. A receiver checks that
`webhook-signature` holds `v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from luthier.service.schedules import views as shown
from luthier.service.settings import Settings
from luthier.service.storage.database import Database, changed_rows
from luthier.service.storage.tables import DeliveryRow, RunRow, ScheduleRow
from luthier.studies.schedule import Event

log = logging.getLogger("luthier")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole addresses, and many a hook's is a secret
TIMEOUT_SECONDS = 10.0  # for the whole of an attempt
PAUSES_SECONDS = (20.0, 60.0, 300.0, 1800.0, 7200.0)  # after each attempt that failed; after the last it is given up
AT_ONCE = 20


def queue(session: Session, schedule: ScheduleRow, run: RunRow, event: Event, now: float) -> None:
    """Have the webhook told of an event, once this transaction is committed."""
    session.flush()
    view = shown.run_views(session, schedule, [run])[0]
    body = {
        "type": f"run.{event}",
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
        "data": {"schedule": schedule.name, "run": view.model_dump(mode="json")},
    }
    text = json.dumps(body, ensure_ascii=False)
    session.add(DeliveryRow(schedule_id=schedule.id, event=event, body=text, next_at=now, created_at=now))


@dataclass(frozen=True)
class Webhook:
    """Where notifications go. `secret` signs them; None: they are not signed."""

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
        """Send what is due, each attempt by one service; what is not taken is tried again later."""
        with database.reading() as session:
            due = select(DeliveryRow.id).where(DeliveryRow.next_at <= database.now()).order_by(DeliveryRow.next_at)
            waiting = list(session.scalars(due.limit(AT_ONCE)))
        for delivery_id in waiting:
            delivery = self._claim(database, delivery_id)
            if delivery is None:
                continue
            problem = self._send(delivery)
            with database.transaction() as session:
                done = {"error": problem} | ({} if problem else {"next_at": None, "delivered_at": database.now()})
                changed_rows(session, update(DeliveryRow).where(DeliveryRow.id == delivery_id).values(**done))

    def _claim(self, database: Database, delivery_id: int) -> DeliveryRow | None:
        """Count an attempt and set when the next one is due, should this one fail; None: another service has it."""
        with database.transaction() as session:
            due = DeliveryRow.next_at <= database.now()
            found = select(DeliveryRow).where(DeliveryRow.id == delivery_id, due).with_for_update(skip_locked=True)
            delivery = session.scalar(found)
            if delivery is None:
                return None
            pauses = PAUSES_SECONDS[delivery.attempts : delivery.attempts + 1]
            delivery.next_at = database.time(session) + pauses[0] if pauses else None
            delivery.attempts += 1
            return delivery

    def _send(self, delivery: DeliveryRow) -> str | None:
        """Why it was not taken, in words without the address; None when it was."""
        body = delivery.body.encode()
        headers = self.headers(f"delivery-{delivery.id}", int(datetime.now(UTC).timestamp()), body)
        try:
            status = asyncio.run(self._post(body, headers))
            problem = None if 200 <= status < 300 else f"It answered {status}."
        except TimeoutError:
            problem = f"It did not answer within {TIMEOUT_SECONDS:g} seconds."
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = f"It could not be reached: {type(error).__name__}."
        if problem is not None:
            log.warning("the webhook did not take %s (attempt %d): %s", delivery.event, delivery.attempts, problem)
        return problem

    async def _post(self, body: bytes, headers: dict[str, str]) -> int:
        """The answer's status, once its headers are there; redirects are not followed."""
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            httpx.AsyncClient(timeout=None) as client,  # noqa: S113 - the line before is its timeout
            client.stream("POST", self.url, content=body, headers=headers) as response,
        ):
            return response.status_code

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        found = {"Content-Type": "application/json", "webhook-id": message_id, "webhook-timestamp": str(timestamp)}
        if self.secret is not None:
            signed = hmac.digest(_key(self.secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
            found["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
        return found


def _key(secret: str) -> bytes:
    """The bytes of a secret: of `whsec_...` what its base64 holds, else the text itself."""
    prefix, _, rest = secret.partition("whsec_")
    if prefix == "" and rest:
        try:
            return base64.b64decode(rest, validate=True)
        except binascii.Error:
            pass
    return secret.encode()
