"""A typed client of the service, for programs and the command line.

    with Client("http://127.0.0.1:8000", token) as client:
        study = client.create("study.yaml")
        for trial in client.trials(study.name):
            print(trial.number, trial.value)

Errors, all handed on by `luthier`:

    LuthierError            everything below
    ├── ServiceError        the service refused: status, title, detail, and the path of each wrong value
    │   └── Unreachable     no answer came: nothing listens there, or it took too long
    │       └── Blocked     a certificate that is not trusted, or a proxy that does not lead there
    ├── BadTrials           a csv of old trials, which a spec names, is none; it is a ValueError, too
    └── DownloadError       what came down is not the model that the study or schedule names

A target folder that is not empty, and a disk that refuses the files of a download, raise OSError.
"""

from luthier.service.client.asynchronous import AsyncClient
from luthier.service.client.client import Client
from luthier.service.client.errors import Blocked, ServiceError, Unreachable
from luthier.service.client.events import Event
from luthier.service.client.external_trial import ExternalTrial
from luthier.service.client.old_trials import BadTrials
from luthier.service.client.plot import Plot
from luthier.service.download import DownloadError

__all__ = [
    "AsyncClient",
    "BadTrials",
    "Blocked",
    "Client",
    "DownloadError",
    "Event",
    "ExternalTrial",
    "Plot",
    "ServiceError",
    "Unreachable",
]
