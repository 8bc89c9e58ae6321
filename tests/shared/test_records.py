import json

import pytest
from pydantic import ValidationError

from shared.records import ChoiceRecord

OLD = {"index": 0, "prompt_token_ids": [1], "output_token_ids": [2, 3], "finish_reason": "stop"}


def test_a_choice_from_before_texts_were_digested_is_read_and_says_so() -> None:
    choice = ChoiceRecord.model_validate_json(json.dumps(OLD))
    assert choice.text_sha256 is None
    assert (choice.text_bytes, choice.text_bytes_without_ids, choice.beside_text) == (0, 0, ())


def test_a_choice_with_its_text_survives_its_json() -> None:
    choice = ChoiceRecord.model_validate_json(
        json.dumps(OLD | {"text_sha256": "a" * 64, "text_bytes": 5, "beside_text": ["tool_calls"]})
    )
    assert ChoiceRecord.model_validate_json(choice.model_dump_json()) == choice


@pytest.mark.parametrize(
    "fields",
    [{"text_sha256": "abc"}, {"text_bytes": -1}, {"beside_text": ["anything"]}, {"text": "words"}],
)
def test_impossible_texts_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ChoiceRecord.model_validate_json(json.dumps(OLD | fields))
