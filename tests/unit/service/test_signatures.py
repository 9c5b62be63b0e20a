"""Signatures of notifications: those of the Standard Webhooks specification, and what a receiver checks."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
import standardwebhooks

from luthier.service.schedules.webhook import Webhook

URL = "https://example.org/hook"
KEY = b"a secret of thirty-two characters"
WHSEC = f"whsec_{base64.b64encode(KEY).decode()}"


def test_a_signature_is_that_of_the_specifications_own_example() -> None:
    hook = Webhook(URL, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    sent_at = datetime.fromtimestamp(1614265330.75, UTC)
    assert hook.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", sent_at, '{"test": 2432232314}') == {
        "Content-Type": "application/json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (WHSEC, KEY),
        (KEY.decode(), KEY),  # plain text
        ("0123456789abcdef0123456789abcdef", b"0123456789abcdef0123456789abcdef"),  # text, though it might be base64
        ("schlüssel-mit-umlaut", "schlüssel-mit-umlaut".encode()),
        ("whsec_not base64, so it is text", b"whsec_not base64, so it is text"),
        ("whsec_", b"whsec_"),
        (f"not-{WHSEC}", f"not-{WHSEC}".encode()),
    ],
)
def test_a_receiver_with_the_same_key_can_check_the_signature(secret: str, key: bytes) -> None:
    body = '{"type": "run.finished", "data": {"message": "größer"}}'
    headers = Webhook(URL, secret).headers("delivery-1", datetime.now(UTC), body)
    signed = f"delivery-1.{headers['webhook-timestamp']}.{body}".encode()
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    standardwebhooks.Webhook(key).verify(body, headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(key).verify(body + " ", headers)


def test_without_a_secret_nothing_is_signed() -> None:
    assert set(Webhook(URL, None).headers("delivery-1", datetime.now(UTC), "{}")) == {
        "Content-Type",
        "webhook-id",
        "webhook-timestamp",
    }
