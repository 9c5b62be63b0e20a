"""The base of the errors that users of the package catch; it imports nothing."""


class LuthierError(Exception):
    """The base of what `Client` raises about the service and its models; the message is one sentence for people."""
