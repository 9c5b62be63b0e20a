"""The cases of tasks_vs_trainer.py by their names: a task each, two of speech recognition."""

from cases import boxes, images, sounds, texts, writing
from cases.case import Case

CASES: dict[str, Case] = texts.CASES | images.CASES | boxes.CASES | sounds.CASES | writing.CASES
