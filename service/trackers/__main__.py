"""A process that tells one tracker of one study: `python -m luthier.service.trackers STUDY TRACKER`.

`luthier run --track` starts it, so that nothing that a tracker's library does can reach the run. It finds the service
by LUTHIER_SERVER and LUTHIER_TOKEN, and prints its own sentences on stdout, a line each; whatever libraries print goes
to stderr.
"""

import os
import signal
import sys
from types import FrameType

from luthier.errors import LuthierError
from luthier.service.client import Client
from luthier.service.trackers.audience import Audience
from luthier.service.trackers.follow import track
from luthier.service.trackers.kinds import open_tracker


def main() -> int:
    """Follow the study to its end; return 0 where the tracker has all of it, else 1."""
    name, kind = sys.argv[1:]
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, _interrupt)

    def complain(line: str) -> None:
        print(line, file=lines, flush=True)

    try:
        audience = Audience({kind: open_tracker(kind)}, name, complain)
        with Client() as client:
            track(client, name, audience)
        return int(bool(audience.failed))
    except LuthierError as error:
        complain(f"{kind} was not told all of {name}: {error}")
    except Exception as error:  # a library's own, where it is opened; its text may hold an address
        complain(f"{kind} was not told all of {name}: {type(error).__name__}. LUTHIER_DEBUG=1 shows more.")
    except KeyboardInterrupt:
        pass
    return 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
