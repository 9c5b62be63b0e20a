"""Text for people: how an error of any library becomes one line of a sentence.

The service and the workers call it to put an error's text into their own messages.
"""

import re

_CREDENTIALS = re.compile(r"^((?:[A-Za-z][A-Za-z0-9+.-]*:)?//|)[^/?#]*@")
ERROR_CHARACTERS = 300  # of an error's text within a sentence: its cause, not the page that some libraries print


def one_line(error: BaseException | str, limit: int | None = ERROR_CHARACTERS) -> str:
    """Return an error's text on one line, each run of white space as one space.

    Args:
        error: The error, or its text.
        limit: The most characters to return; None for all.
    """
    return " ".join(str(error).split())[:limit]


def without_credentials(url: str) -> str:
    """Return a URL without the user and the password that may stand before its host."""
    return _CREDENTIALS.sub(r"\1", url)
