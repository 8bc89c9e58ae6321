"""What can be rebuilt of an answer without the model's weights (test_audit_sampling tries the sampler)."""

import json
from typing import Any

import pytest
import torch

from shared.canonical import sha256_hex
from shared.errors import ModelError, NotReproducible
from shared.records import RequestRecord
from tests.models import tiny_model
from tests.validator.example_calibration import bare_calibration, tiny_noise, token_reading
from tests.validator.example_miner import ExampleMiner, tokens_of
from tests.validator.example_model import answer_checks, chat_body
from validator.answer_checks import AnswerChecks, TokenAudit
from validator.delivered_text import TextCheck
from validator.evidence import FAIL_P_VALUE
from validator.sampler_alternatives import Alternative
from validator.verdicts import MAX_REASON_CHARACTERS, AlternativeFit, TokenCheck


def answered(**fields: Any) -> RequestRecord:
    return ExampleMiner(bare_calibration()).answer(chat_body(3, max_tokens=12, **fields))


def asked_otherwise(**fields: Any) -> RequestRecord:
    """An answer whose recorded request asks for something else."""
    record = answered()
    body = {**json.loads(record.request_body), **fields}
    return record.model_copy(update={"request_body": json.dumps(body)})


def changed(record: RequestRecord, **fields: Any) -> RequestRecord:
    choice = record.choices[0].model_copy(update=fields)
    return record.model_copy(update={"choices": (choice, *record.choices[1:])})


def text_refused(record: RequestRecord) -> bool:
    finding = answer_checks().check_text(record).finding
    return finding is not None and (finding.outcome, finding.check) == ("fail", "text")


def end_refused(record: RequestRecord) -> bool:
    finding = answer_checks().check_end(record)
    return finding is not None and (finding.outcome, finding.check) == ("fail", "tokens")


def test_the_prompts_are_those_that_the_miner_rendered() -> None:
    record = answered(n=2)
    prompts = answer_checks().prompts(record)
    assert [tuple(prompt) for prompt in prompts] == [choice.prompt_token_ids for choice in record.choices]


def test_a_prompt_that_can_not_be_rebuilt_is_said_to_be_so() -> None:
    with pytest.raises(NotReproducible):
        answer_checks().prompts(
            asked_otherwise(messages=[{"role": "user", "content": [{"type": "image_url"}]}])
        )


@pytest.mark.parametrize("fields", [{}, {"n": 2}, {"stop": ["e"]}, {"temperature": 0}])
def test_an_honest_answer_holds(fields: dict[str, Any]) -> None:
    record = answered(**fields)
    assert answer_checks().check_text(record) == TextCheck()
    assert answer_checks().check_end(record) is None


def test_another_text_is_refused() -> None:
    assert text_refused(changed(answered(), text_sha256=sha256_hex(b"x")))
    assert not text_refused(answered())


def test_a_text_without_a_digest_is_left_out_and_says_why() -> None:
    check = answer_checks().check_text(changed(answered(), text_sha256=None))
    assert check.finding is None
    assert "no digest" in check.unchecked


@pytest.mark.parametrize("reason", ["stop", "because", None])
def test_a_wrong_finish_reason_is_refused(reason: str | None) -> None:
    assert end_refused(changed(answered(), finish_reason=reason))


def test_an_end_at_another_length_than_was_asked_for_is_refused() -> None:
    assert [end_refused(asked_otherwise(max_tokens=count)) for count in (11, 12, 13)] == [True, False, True]


def test_where_sampling_can_not_be_rebuilt_the_end_is_not_judged_but_the_text_is() -> None:
    record = asked_otherwise(response_format={"type": "json_object"}, max_tokens=99)
    assert answer_checks().check_end(record) is None
    assert text_refused(changed(record, text_sha256=sha256_hex(b"x")))


def test_every_output_token_is_asked_for_and_no_other() -> None:
    record = answered(n=2)
    audit = answer_checks().token_audit(record, tokens_of(record))
    requests = audit.logits_requests()
    assert sorted(requests) == [0, 1]
    for choice in record.choices:
        prompt = len(choice.prompt_token_ids)
        asked = requests[choice.index]
        assert (asked.first, asked.last) == (prompt - 1, prompt + len(choice.output_token_ids) - 2)


def test_a_choice_without_output_asks_for_nothing() -> None:
    record = changed(answered(n=2), output_token_ids=())
    assert sorted(answer_checks().token_audit(record, tokens_of(record)).logits_requests()) == [1]


def test_honest_tokens_are_weighed_as_such_and_exchanged_ones_are_not() -> None:
    record = answered(temperature=0.3)
    assert sum(margin == 0 for margin in token_reading(record).margins) >= 10
    other = tuple(token + 1 for token in record.choices[0].output_token_ids)
    far = token_reading(changed(record, output_token_ids=other)).margins
    assert min(far) > 0
    assert len(far) == 12


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": None}, "no seed"),
        ({"response_format": {"type": "json_object"}}, "response format"),
        ({"logits_processors": ["x"]}, "logits processors"),
        ({"use_beam_search": True}, "beam search"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_tokens_that_can_not_be_drawn_again_are_not_checked_and_say_why(
    fields: dict[str, Any], words: str
) -> None:
    record = asked_otherwise(**fields)
    audit = answer_checks().token_audit(record, tokens_of(record))
    assert audit.logits_requests() == {}
    assert audit.evidence(tiny_noise()) == ()
    check = audit.check()
    assert (check.checked, check.exact) == (0, 0)
    assert words in check.unchecked


def test_a_long_reason_is_cut() -> None:
    assert len(TokenAudit({}, "x" * 5000).check().unchecked) == MAX_REASON_CHARACTERS


def test_without_tokens_there_is_no_evidence() -> None:
    audit = TokenAudit({}, "")
    assert audit.check() == TokenCheck(checked=0, exact=0)
    assert audit.evidence(tiny_noise()) == ()


class Read:
    """Stands for what was read of one choice."""

    first_position = last_position = 0
    alternatives = (Alternative("at temperature 0.5", 0.5),)

    def __init__(self, margins: list[float], log_likelihood: float) -> None:
        self._margins, self._log_likelihood = margins, log_likelihood
        self.asked = 0

    def margins(self) -> torch.Tensor:
        self.asked += 1
        return torch.tensor(self._margins)

    def leads(self) -> torch.Tensor:
        return torch.full((len(self._margins),), 0.5)

    def log_likelihoods(self) -> tuple[float, ...]:
        return (self._log_likelihood,)


def test_all_choices_are_weighed_together_and_computed_once() -> None:
    exact, far = Read([0.0] * 30, -40.0), Read([0.5] * 30, -10.0)
    audit = TokenAudit({0: exact, 1: far}, "")  # type: ignore[dict-item]
    check = audit.check()
    assert (check.checked, check.exact, sum(check.missed)) == (60, 30, 30)
    assert check.alternatives == (AlternativeFit(name="at temperature 0.5", log_likelihood=-50.0),)
    [evidence] = audit.evidence(tiny_noise())
    assert evidence.statistic == "tokens"
    assert evidence.p_value < FAIL_P_VALUE
    assert audit.explanation(tiny_noise()).startswith(("at temperature 0.5", "with "))
    assert (exact.asked, far.asked) == (1, 1)
    [honest] = TokenAudit({0: exact}, "").evidence(tiny_noise())  # type: ignore[dict-item]
    assert honest.p_value > 0.1


def test_checks_are_loaded_from_the_models_folder() -> None:
    loaded = AnswerChecks.load(str(tiny_model()))
    record = answered()
    assert loaded.prompts(record) == answer_checks().prompts(record)
    assert loaded.check_text(record) == TextCheck()
    assert loaded.check_end(record) is None
    with pytest.raises(ModelError):
        AnswerChecks.load("/nowhere/at/all")
