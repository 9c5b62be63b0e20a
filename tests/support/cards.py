"""Cards of packed models, run as people would: the code on the card, in a process that cannot import luthier."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A card's code runs as it stands, in the model's folder; then its own functions answer to one example at a time.
RUNNER = """
import json, os, re, sys
sys.modules["luthier"] = None

def answers(folder, examples):
    os.chdir(folder)
    card = open("README.md", encoding="utf-8").read()
    code = re.search(r"```python\\n(.*?)```", card, re.DOTALL).group(1)
    known = {"__name__": "card"}
    exec(compile(code, "card", "exec"), known)
    numbers = re.search(r"read_sound\\('sound.wav', ([^)]*)\\)", code)
    window = re.search(r"extractor, model, (\\d+)\\)\\)", code)
    space = " " if "tokenizer, model, space=' ')" in code else ""
    for example in examples:
        if "tag_words" in known:
            yield known["tag_words"](example, known["tokenizer"], known["model"], space)
            continue
        if numbers:
            example = known["read_sound"](example, *map(int, numbers.group(1).split(", ")))
        if window:
            yield [known["hear"](example, known["extractor"], known["model"], int(window.group(1)))]
            continue
        found = known["classify"](example, top_k=known["classify"].model.config.num_labels)
        yield [{one["label"]: one["score"] for one in found}]

given = json.load(open(sys.argv[1]))
said = {folder: list(answers(folder, examples)) for folder, examples in given.items()}
json.dump(said, open(sys.argv[2], "w"))
"""


def run_cards(work: Path, examples: Mapping[Path, Sequence[Any]]) -> dict[Path, list[list[dict[str, float]]]]:
    """Return for each packed model's folder the answers to its examples: label -> probability for each unit.

    Args:
        work: An empty folder.
        examples: Folder -> texts, pairs by name, lists of words, or the paths of images and sounds.
    """
    given = {str(folder): [str(e) if isinstance(e, Path) else e for e in found] for folder, found in examples.items()}
    (work / "given.json").write_text(json.dumps(given))
    command = [sys.executable, "-P", "-W", "ignore", "-c", RUNNER, str(work / "given.json"), str(work / "said.json")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {Path(folder): found for folder, found in json.loads((work / "said.json").read_text()).items()}


def run_card(folder: Path, changes: Mapping[str, str]) -> str:
    """Return what the code on a packed model's card prints, in a process that cannot import luthier.

    Args:
        folder: The unpacked model.
        changes: A part of the code -> what stands in its place, such as the example.
    """
    code = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    for part, other in changes.items():
        assert part in code
        code = code.replace(part, other)
    code = f"import sys; sys.modules['luthier'] = None\n{code}"
    command = [sys.executable, "-P", "-W", "ignore", "-c", code]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
