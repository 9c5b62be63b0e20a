"""Names in JSON: what is stored and sent keeps its old names, whatever Python calls it."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from luthier.studies.findings import note
from luthier.studies.promotion import PromotionDecision
from luthier.studies.protocol import Outcome
from luthier.studies.results import Comparison, Inspection

INSPECTION = (
    '{"blocks":[{"name":"b.0","parameters":3}],"trainable_parameters":[4,1],'
    '"others":[{"blocks":[],"trainable_parameters":[2],"batching":"left"}],"label_names":["ham","spam"],"labels":{"ham":6,"spam":4},'
    '"rows":{"train":10},"fingerprint":"f","estimates":{"seconds_per_trial":1.5,"memory_bytes":null,'
    '"batch_sizes":[{"batch_size":8,"fits":true,"micro_batch":8,"memory_bytes":9}]},"max_length":96,'
    '"findings":[{"code":"silent-sounds","severity":"warning","count":2,"message":"2 of 60 sounds are silent.",'
    '"examples":["a.wav","b.wav"],"cure":"Listen to them."}],'
    '"majority":{"label":"ham","validation":{"accuracy":0.6},"test":null}}'
)
COMPARISON = (
    '{"examples":10,"left_out":2,"units":12,"independent":false,"champion":{"accuracy":0.5},'
    '"challenger":{"accuracy":0.75},"gained":3,"lost":1,"exchanged":[0.0,0.25],"resampled":[0.25],'
    '"predictions":{"name":"p.bin","sha256":"' + "0" * 64 + '","bytes":7}}'
)
DECISION = (
    '{"promoted":true,"reason":"why","metric":"accuracy","maximize":true,"champion":{"accuracy":0.5},'
    '"challenger":{"accuracy":0.75},"difference":0.25,"margin":0.0,"confidence":0.95,"test":null,"examples":10,'
    '"left_out":2,"gained":3,"lost":1,"contest":null}'
)
OUTCOME = (
    '{"id":1,"token":"t","log":"","status":"complete","reason":null,"problem":null,"micro_batch":null,"seconds":0.0,'
    f'"peak_memory_bytes":null,"examples_per_second":null,"inspection":{INSPECTION},"evaluation":null,'
    f'"comparison":{COMPARISON}}}'
)


@pytest.mark.parametrize(
    ("model", "stored"),
    [(Inspection, INSPECTION), (Comparison, COMPARISON), (PromotionDecision, DECISION), (Outcome, OUTCOME)],
)
def test_json_is_read_and_written_to_the_byte_as_it_was_stored(model: type[BaseModel], stored: str) -> None:
    value = model.model_validate_json(stored)
    assert value.model_dump_json() == stored
    assert value.model_dump(mode="json") == json.loads(stored)
    assert model.model_validate(value.model_dump(mode="json")) == value


def test_python_uses_names_of_its_own() -> None:
    inspection = Inspection.model_validate_json(INSPECTION)
    comparison = Comparison.model_validate_json(COMPARISON)
    assert [summary.trainable_parameters for summary in inspection.further_models] == [[2]]
    assert [summary.batching for summary in inspection.models] == ["right", "left"]
    before_findings = INSPECTION[: INSPECTION.index(',"max_length"')]
    before = Inspection.model_validate_json(before_findings + "}")
    assert (before.max_length, before.findings) == (None, [])
    (older,) = Inspection.model_validate_json(before_findings + ',"notes":["2 sounds are silent."]}').findings
    assert older == note("note", "2 sounds are silent.")
    assert (comparison.excluded, comparison.labelled_units) == (2, 12)
    assert PromotionDecision.model_validate_json(DECISION).excluded == 2


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_schemas_show_the_names_of_the_json(mode: Any) -> None:
    assert "others" in Inspection.model_json_schema(mode=mode)["properties"]
    assert {"left_out", "units"} <= set(Comparison.model_json_schema(mode=mode)["properties"])
    assert "left_out" in PromotionDecision.model_json_schema(mode=mode)["properties"]
