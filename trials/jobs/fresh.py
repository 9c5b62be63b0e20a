"""The fresh process that uses a packed model: `python -m luthier.trials.jobs.fresh FOLDER`.

`reload` starts it. It loads the model from FOLDER/model by the model's own files, answers to the examples of
FOLDER/request.json as a user of the model would, one at a time, and writes FOLDER/answers.json. It computes on the CPU,
runs no code of the model's own, and ends with the process that started it.
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.studies.text import one_line

MODEL, REQUEST, ARRAYS, ANSWERS = "model", "request.json", "arrays.safetensors", "answers.json"
"""Names in the folder: the unpacked model; what to do; the examples that are arrays; the answers."""
FORMATS = {"F16": "float16", "BF16": "bfloat16"}
"""16-bit formats as safetensors names them, and as torch does."""
MOST_SECONDS = 300.0
"""After that no further example is tried: the answers of a large model to a few of them tell as much."""


class Unusable(Exception):
    """The model cannot be used. The text is the end of a sentence."""


def main(folder: Path) -> None:
    """Answer, and end when the process that started this one has ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer(folder)


def answer(folder: Path) -> None:
    """Use the model and write the answers, or the fault or error that was met."""
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    try:
        answers = _use(str(folder / MODEL), request, folder / ARRAYS)
    except Unusable as unusable:
        answers = {"error": str(unusable)}
    (folder / ANSWERS).write_text(json.dumps(answers), encoding="utf-8")


def _use(model_folder: str, request: dict[str, Any], arrays: Path) -> dict[str, Any]:
    """Return `answers`, label -> value for each unit of each example, and `lacks`: what the file of weights has not.

    Raises:
        Unusable: A part of the model cannot be loaded or used.
    """
    import torch
    import transformers

    from luthier.trials.tasks.usage import referred

    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with _told("its configuration or its weights cannot be loaded", model_folder):
        model, report = getattr(transformers, request["auto"]).from_pretrained(
            model_folder,
            dtype="auto",
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # for the report, which refuses them
            output_loading_info=True,
        )
    if halves := _halves(model, Path(model_folder)):
        raise Unusable(f"its weights are {' and '.join(halves)}, not float32")
    kind, options = request["kind"], request["options"]
    with _told(f"its {kind.replace('_', ' ')} cannot be loaded", model_folder):
        use = referred(request["function"])(model, model_folder, request["tag"], kind, **options)
    answers = []
    until = time.monotonic() + MOST_SECONDS
    with torch.no_grad(), _told("it gives no answer", model_folder):
        for example in _examples(request["examples"], arrays):
            answers.append(use(example))
            if time.monotonic() > until:
                break
    return {"answers": answers, "lacks": _lacks(report)}


@contextlib.contextmanager
def _told(what: str, folder: str) -> Iterator[None]:
    """Raise whatever a library raises inside as Unusable, `what` first, without the folder's long name."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        text = one_line(str(error).replace(folder, "the folder"))
        raise Unusable(f"{what} ({type(error).__name__}: {text.rstrip('.')})") from None


def _halves(model: Any, folder: Path) -> list[str]:
    """Return the 16-bit number formats of a model's parameters, and of the tensors in its files."""
    from safetensors import safe_open

    found = {str(parameter.dtype).removeprefix("torch.") for parameter in model.parameters()}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            found |= {FORMATS.get(opened.get_slice(name).get_dtype(), "") for name in opened.keys()}  # noqa: SIM118
    return sorted(found & set(FORMATS.values()))


def _lacks(report: dict[str, Any]) -> str | None:
    """Return what the file of weights lacks by the report of transformers, as the end of a sentence, or None."""
    for part, said in (("missing_keys", "lacks"), ("mismatched_keys", "has in another shape")):
        if names := sorted(str(name[0] if isinstance(name, tuple) else name) for name in report[part]):
            further = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return f"its file {said} {', '.join(names[:3])}{further}"
    return None


def _examples(examples: list[Any], arrays: Path) -> Any:
    """Yield the examples; those that are null are the arrays with their number: images where they are bytes."""
    import numpy
    from PIL import Image
    from safetensors import safe_open

    if None not in examples:
        yield from examples
        return
    with safe_open(arrays, "numpy") as opened:
        for i in range(len(examples)):
            array = opened.get_tensor(str(i))
            yield Image.fromarray(array) if array.dtype == numpy.uint8 else array


def _end_with_parent() -> None:
    """End this process when its standard input closes: then the process that started it has ended."""
    while os.read(sys.stdin.fileno(), 1024):  # not sys.stdin.read, which holds a lock that the interpreter's end needs
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
