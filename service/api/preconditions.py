"""If-Match: a change is made only where nobody has changed the same thing since it was read (RFC 9110, 13.1.1).

The routes that change studies and schedules call it within the transaction of the change, whose row is locked.
"""

import re
from typing import Annotated

from fastapi import Header

from luthier.service.errors import Invalid, PreconditionFailed
from luthier.service.schemas import Fault

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"{_TAG}(?:\s*,\s*{_TAG})*")
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1000,
        description="The `ETag` of an earlier answer: the change is made only if nothing else was changed since.",
        json_schema_extra={"pattern": rf"^\s*(\*|{_LIST.pattern})\s*$"},
    ),
]


def check_match(header: str | None, etag: str, is_done: bool) -> None:
    """Return where a request may change what has this entity tag.

    Args:
        header: its If-Match; None: it makes no condition.
        etag: of what is stored now.
        is_done: what is stored is what the request asks for already: its answer may have been lost (13.1.1 allows it).

    Raises:
        Invalid: the header is no list of entity tags.
        PreconditionFailed: it names others.
    """
    if header is None or header.strip() == "*":
        return
    if _LIST.fullmatch(header.strip()) is None:
        message = 'must be an ETag as an answer had it, quotes included, such as "0a1b"; or *'
        raise Invalid(f"If-Match: {message}", [Fault(path="If-Match", message=message)])
    if etag not in re.findall(_TAG, header) and not is_done:  # a weak one never matches
        text = "It was changed by another request since this ETag was read, so nothing was changed now."
        raise PreconditionFailed(f"{text} Get it again, and repeat the change with its new ETag.")
