"""The errors of the client that an answer of the service, or the lack of one, causes.

The client raises them; nothing here knows HTTP or the server's own errors (`service/errors.py`).
"""

from collections.abc import Sequence

from luthier.errors import LuthierError
from luthier.service.schemas import Fault


class ServiceError(LuthierError):
    """The service refused a request, or its answer is not Luthier's.

    Attributes:
        status: the HTTP status; 0 where no answer came.
        title: the status in words.
        detail: a sentence for people, also `str()` of the error.
        errors: each wrong value with its path and the cure; empty where the request as a whole is refused.
    """

    def __init__(self, status: int, title: str, detail: str, errors: Sequence[Fault] = ()) -> None:
        """Set the parts of the answer; see the class."""
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = list(errors)


class Unreachable(ServiceError):
    """No answer came: nothing listens at the URL, or it took too long. `status` is 0."""

    def __init__(self, detail: str) -> None:
        """Take a sentence that names the URL."""
        super().__init__(0, "Unreachable", detail)


class Blocked(Unreachable):
    """The way to the service is blocked: its certificate is not trusted, or a proxy does not lead there.

    The text says which setting mends it.
    """
