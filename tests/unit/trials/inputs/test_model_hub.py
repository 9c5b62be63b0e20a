"""Models of the hub, asked for over HTTP of a hub of our own: downloaded, or why they cannot be had, with the cure."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from luthier.trials.model.foreign import conversion

COMMIT = "0123456789" * 4
ASK = """
import json, sys
from luthier.trials.errors import BadData
from luthier.trials.model.folder import model_folder

def told(name):
    try:
        return sorted(file.name for file in model_folder(name).iterdir())
    except BadData as error:
        return error.message

print(json.dumps({name: told(name) for name in sys.argv[1:]}))
"""
PICKLED = ("config.json", "pytorch_model.bin", "tokenizer.json")
FILES = {
    "people/bert": ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "pytorch_model.bin"),
    "people/pickled": PICKLED,
    "people/proposed": PICKLED,
    "people/gated": ("config.json", "model.safetensors"),
    "people/gguf": ("small.Q4_K_M.gguf", "README.md"),
    "people/diffusion": ("model_index.json", "unet/config.json"),
    "people/adapter": ("adapter_config.json", "adapter_model.safetensors"),
    "people/nested": ("README.md", "large/config.json", "large/model.safetensors"),
}
"""Model -> its files on the hub."""


class Hub(BaseHTTPRequestHandler):
    """What a hub answers to the questions of `huggingface_hub`."""

    model: Path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        name = "/".join(path.removeprefix("api/models/").split("/")[:2])
        rest = path.removeprefix("api/models/").removeprefix(name).strip("/")
        if name == "people/broken":
            return self._answer(500, b"{}")
        if name == "people/token":
            return self._answer(403, b"{}", **{"X-Error-Message": "Forbidden: wrong token"})
        if name not in FILES:
            return self._answer(401, b"{}", **{"X-Error-Code": "RepoNotFound"})
        files = FILES[name]
        if rest.startswith("tree/refs/pr/7"):
            files = (*files, "model.safetensors") if name == "people/proposed" else files
        if rest.startswith("refs"):
            requests = [{"name": f"pr/{i}", "ref": f"refs/pr/{i}", "targetCommit": COMMIT} for i in (1, 7, 12)]
            return self._json({"branches": [], "converts": [], "tags": [], "pullRequests": requests})
        if rest.startswith("tree"):
            return self._json([{"type": "file", "path": file, "size": 1, "oid": "ab"} for file in files])
        if rest.startswith("resolve"):
            if name == "people/gated":
                return self._answer(403, b"{}", **{"X-Error-Code": "GatedRepo"})
            file = self.model / rest.split("/", 2)[2]
            content = file.read_bytes() if file.exists() else b"{}"
            return self._answer(200, content, ETag=f'"{file.name}"', **{"X-Repo-Commit": COMMIT})
        return self._json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]})

    def _json(self, content: object) -> None:
        self._answer(200, json.dumps(content).encode(), **{"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def ask(cache: Path, names: list[str], **environment: str) -> dict[str, object]:
    """Open models in a process of their own: the hub's client reads its environment when it is imported."""
    known = os.environ | {"HF_HOME": str(cache), "HF_TOKEN": "", "HF_HUB_DISABLE_XET": "1"} | environment
    answer = subprocess.run([sys.executable, "-c", ASK, *names], env=known, check=True, capture_output=True, cwd=cache)
    answers: dict[str, object] = json.loads(answer.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def endpoint(model: Path) -> Iterator[str]:
    """The address of a hub."""
    handler = type("Handler", (Hub,), {"model": model})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def answers(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Name -> the files of the folder, or the refusal."""
    names = [*FILES, "people/mispelled", "people/broken", "people/token", "bad--name"]
    return ask(tmp_path_factory.mktemp("hub"), names, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0")


@pytest.mark.full
def test_safetensors_and_small_files_are_downloaded(answers: dict[str, object]) -> None:
    assert answers["people/bert"] == ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]


NEITHER = "is neither a folder on this worker nor"
SAID = {
    "people/pickled": "people/pickled has pickled weights only (pytorch_model.bin), which can run code and are never "
    "loaded; this converts them to safetensors without running any: hf download people/pickled --local-dir pickled && "
    f"{conversion('pickled')}, then give that folder.",
    "people/proposed": "people/proposed has pickled weights only (pytorch_model.bin), which can run code and are never "
    "loaded. Its revision refs/pr/7 has them as safetensors: hf download people/proposed --revision refs/pr/7 "
    "--local-dir proposed, then give that folder.",
    "people/gated": "people/gated is gated on the hub, and the worker has no token (HF_TOKEN): ask for access on "
    "https://huggingface.co/people/gated, and start the worker with the token of an account that has it (HF_TOKEN).",
    "people/gguf": "people/gguf holds weights in GGUF (small.Q4_K_M.gguf), rounded for llama.cpp, which cannot be "
    "trained; choose the original model that it was made of.",
    "people/diffusion": "people/diffusion is a pipeline of diffusers (model_index.json), which makes images and "
    "classifies nothing; choose a model for classification.",
    "people/adapter": "people/adapter is an adapter, not a whole model: merge the two: load it with peft",
    "people/nested": "people/nested is not a model, but its folder large is one: give nested/large, after: "
    "hf download people/nested --local-dir nested.",
    "people/mispelled": f"people/mispelled {NEITHER} a model on the hub: check the spelling (owner/name, as on its "
    "page). A private model has the same answer, and the worker has no token (HF_TOKEN): start it with one of an "
    "account that may read it.",
    "people/broken": "people/broken: the hub cannot answer now (status 500); try again later, or run: hf download "
    "people/broken --local-dir broken, and give the path of that folder.",
    "people/token": "people/token: the hub gives nothing without a token; start the worker with one (HF_TOKEN).",
    "bad--name": f"bad--name {NEITHER} a name that the hub can have (owner/name); check the path.",
}


@pytest.mark.parametrize("name", SAID)
def test_what_cannot_be_had_gets_one_sentence(answers: dict[str, object], name: str) -> None:
    assert isinstance(answers[name], str)
    assert str(answers[name]).startswith(SAID[name])


@pytest.mark.full
def test_a_token_that_is_refused_is_said_so(tmp_path: Path, endpoint: str) -> None:
    answers = ask(tmp_path, ["people/token"], HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0", HF_TOKEN="hf_secret")
    assert answers["people/token"] == (
        "people/token: the hub refuses the worker's token (HF_TOKEN); make a new one, or start the worker without."
    )


@pytest.mark.full
def test_without_a_network_the_cure_is_to_fetch_it_elsewhere(tmp_path: Path) -> None:
    assert ask(tmp_path, ["people/bert"], HF_HUB_OFFLINE="1") == {
        "people/bert": f"people/bert {NEITHER} a model in its cache of the hub, and the hub cannot be reached: "
        "HF_HUB_OFFLINE is set. On a machine with a network run: hf download people/bert --local-dir bert, and give "
        "the path of that folder."
    }
