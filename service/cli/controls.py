"""Text of others for a terminal: without the control characters that would move its cursor or rename its window."""

import json
import re
from typing import Any

_CONTROL_IN_JSON = re.compile(r"[\x7f-\x9f]")  # those that JSON may hold as they are
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all control characters but tab and newline


def clean(text: str) -> str:
    """Return text of others without the characters that control a terminal."""
    return _CONTROL.sub("", text)


def json_text(plain: Any, indent: int | None = None) -> str:
    """Return a value as JSON with each control character escaped, so that a terminal obeys none; `indent` in spaces."""
    text = json.dumps(plain, indent=indent, ensure_ascii=False)
    return _CONTROL_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
