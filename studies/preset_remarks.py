"""What a spec's preset does not decide, as the spec writes it itself: sentences for plans.

It looks at the parsed spec alone: whether a user or a preset has written a value cannot be told any more where the two
are equal, and need not be.
"""

from pydantic import ValidationError

from luthier.studies.presets import FILLED, preset
from luthier.studies.spec import StudySpec


def preset_remarks(spec: StudySpec) -> list[str]:
    """Return a sentence for each key that a spec has otherwise than its preset; none without a preset."""
    if spec.preset is None:
        return []
    document = spec.model_dump(mode="json")
    stands_for = preset(spec.preset, spec.task_info)
    try:
        plain = StudySpec.model_validate({key: value for key, value in document.items() if key not in FILLED})
    except ValidationError:  # the rest of the spec does not suit the preset, which it then has in no part
        return [_told(spec, key, "") for key in stands_for]
    lacking = [name for name in plain.space if name not in spec.space]
    rest = {
        "space": f" The search leaves out {', '.join(lacking)}." if lacking else "",
        "budget": f" The preset's {plain.budget.trials} trials are no limit." if spec.budget.trials is None else "",
    }
    differs = [key for key in stands_for if getattr(spec, key) != getattr(plain, key)]
    return [_told(spec, key, rest.get(key, "")) for key in differs]


def _told(spec: StudySpec, key: str, rest: str) -> str:
    return f"The spec's own {key} holds, whole, and not that of preset {spec.preset}.{rest}"
