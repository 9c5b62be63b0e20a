"""The command `python -m luthier.trials --server URL`, which runs a worker.

Its token comes from LUTHIER_WORKER_TOKEN, never from an argument. Without LUTHIER_DATA_ROOTS it opens only local data
and models below its working directory.
"""

import argparse
import asyncio
import logging
import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from luthier.studies.gpus import CPU, find_gpu
from luthier.studies.host import usable_cores
from luthier.studies.protocol import Gpu
from luthier.studies.versions import installed
from luthier.studies.wire import WORKER_NAME
from luthier.trials.worker.loop import Worker

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def main(arguments: list[str] | None = None) -> int:
    """Run a worker until a signal, and return the process's exit code. `arguments`: the command line's by default."""
    given = _parse(arguments)
    os.environ.setdefault("LUTHIER_DATA_ROOTS", str(Path.cwd()))  # else a study could name any file of this user
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("luthier.trials").setLevel(logging.INFO)
    device_name, gpu = device(given.gpu)
    environment = child_environment(given.gpu, given.threads)
    if required := (device_name if device_name != CPU else given.gpu if given.gpu != CPU else None):
        environment["LUTHIER_GPU"] = required  # the child refuses to train on the CPU instead
    worker = Worker(
        given.server,
        os.environ.get("LUTHIER_WORKER_TOKEN") or None,
        name=given.name or f"{platform.node() or 'worker'}-{os.getpid()}",
        device=device_name,
        gpu=gpu,
        environment=environment,
        exit_on_eof=given.exit_on_eof,
        version=_version(),
        host=platform.node(),
        libraries=installed(),
    )
    return asyncio.run(worker.run())


def child_environment(gpu: str | None, threads: int | None) -> dict[str, str]:
    """Return the environment variables that give the child its GPU and its CPU threads.

    Args:
        gpu: A GPU's index or UUID; "cpu": none; None: all GPUs that this process sees.
        threads: CPU threads; None: OMP_NUM_THREADS, else all cores that this process may use.
    """
    environment = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # an index means the same GPU to CUDA as to nvidia-smi
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = "" if gpu == CPU else gpu
    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = usable_cores()  # libraries count all of the machine's, also those that a container may not use
    if threads is not None:
        environment |= dict.fromkeys(THREADS, str(threads))
    return environment


def device(gpu: str | None) -> tuple[str, Gpu | None]:
    """Return the device that a child will compute on: its name for people, and its GPU; "cpu" and None without one.

    Args:
        gpu: A GPU's index or UUID; "cpu": none; None: the first that this process sees.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if gpu is None else gpu
    if visible in ("", CPU, "-1"):
        return CPU, None
    chosen = (visible or "0").split(",")[0]
    unknown = (f"GPU {chosen}"[:200], Gpu(id=_global_id(chosen))) if gpu is not None else (CPU, None)
    whole_gpu = find_gpu(chosen)
    if whole_gpu is None or whole_gpu.is_instance:
        return unknown  # an instance is named by its UUID, and its memory is not shared by bytes
    return whole_gpu.name[:200], Gpu(id=_global_id(whole_gpu.uuid), total_bytes=whole_gpu.total_bytes)


def _global_id(chosen: str) -> str:
    """Return a GPU's UUID, or its index after the machine's name, with the characters that an identifier allows."""
    name = chosen if chosen.startswith(("GPU-", "MIG-")) else f"{platform.node() or 'worker'}/{chosen}"
    return re.sub(r"[^A-Za-z0-9._:/@-]", "-", name)[:200]


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m luthier.trials", description=__doc__)
    parser.add_argument("--server", required=True, type=_url, help="the service's URL, as http://localhost:8000")
    parser.add_argument(
        "--name", type=_name, help="this worker's name; default: the host's name and the process's number"
    )
    parser.add_argument("--gpu", help="a GPU's index or UUID, or cpu; default: what CUDA_VISIBLE_DEVICES shows")
    parser.add_argument("--threads", type=_count, help="CPU threads; default: OMP_NUM_THREADS, else all cores")
    parser.add_argument("--exit-on-eof", action="store_true", help="end at once when standard input ends")
    return parser.parse_args(arguments)


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text} is not a URL; it starts with http:// or https://")
    try:
        is_whole = bool(httpx.URL(text).host and urlsplit(text).hostname)
    except (httpx.InvalidURL, ValueError):
        is_whole = False
    if not is_whole:
        raise argparse.ArgumentTypeError("the URL of the service must be as http://HOST:PORT")
    return text


def _name(text: str) -> str:
    if re.fullmatch(WORKER_NAME, text) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a worker; it has 1 to 128 letters, digits and . _ : @ -, a letter or digit first"
        )
    return text


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of threads; give 1 or more")
    return int(text)


def _version() -> str:
    try:
        return metadata.version("luthier")
    except metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
