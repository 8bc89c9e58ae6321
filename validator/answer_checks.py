"""What the auditor can rebuild of an answer by itself: its prompt, its text, and its tokens' sampling."""

from collections.abc import Mapping, Sequence

from shared.errors import NotReproducible
from shared.honest_noise import HonestNoise
from shared.prompt_rendering import PromptRenderer
from shared.records import RequestRecord
from shared.reference_logits import LogitsRequest
from validator.delivered_text import TextCheck, check_delivered_text
from validator.detokenization import TextDecoder
from validator.evidence import weigh
from validator.findings import Finding
from validator.generation_defaults import GenerationDefaults
from validator.model_tokenizer import load_tokenizer
from validator.output_tokens import OutputTokens
from validator.sampling_rules import SamplingRule, sampling_rule
from validator.stop_rules import check_stop
from validator.token_evidence import best_explanation, token_score
from validator.token_reading import TokenReading, alternative_fits, token_check
from validator.verdicts import Evidence, TokenCheck


class AnswerChecks:
    """Checks that need the model's tokenizer and configuration, but not its weights; not thread-safe."""

    def __init__(self, renderer: PromptRenderer, decoder: TextDecoder, defaults: GenerationDefaults) -> None:
        self._renderer, self._decoder, self._defaults = renderer, decoder, defaults

    @classmethod
    def load(cls, model: str) -> "AnswerChecks":
        """From a local folder or a hub id.

        Raises:
            ModelError: the model's tokenizer or configuration can't be loaded.
        """
        renderer = PromptRenderer(load_tokenizer(model))
        return cls(renderer, TextDecoder(load_tokenizer(model)), GenerationDefaults.load(model))

    def prompts(self, record: RequestRecord) -> list[list[int]]:
        """The prompt's token ids for each choice.

        Raises:
            NotReproducible: the request's prompt can't be rebuilt.
        """
        return self._renderer.prompts(record.path, record.request_body)

    def check_text(self, record: RequestRecord) -> TextCheck:
        """Whether the client got the text of the tokens."""
        return check_delivered_text(record, self._decoder)

    def check_end(self, record: RequestRecord) -> Finding | None:
        """Whether the tokens end where they should; None, too, when the request's rule can't be rebuilt."""
        try:
            rule = self._rule(record)
        except NotReproducible:
            return None
        return check_stop(rule, record, self._decoder, self._defaults.context_limit)

    def token_audit(self, record: RequestRecord, token_ids: Mapping[int, Sequence[int]]) -> "TokenAudit":
        """The check of every output token against the sampler, to be fed with the reference's logits.

        Args:
            token_ids: prompt and output ids of each choice, by choice index.
        """
        try:
            rule = self._rule(record)
        except NotReproducible as error:
            return TokenAudit({}, str(error))
        outputs = {choice.index: len(choice.output_token_ids) for choice in record.choices}
        starts = {index: len(ids) - outputs[index] for index, ids in token_ids.items() if outputs[index]}
        return TokenAudit(
            {
                index: OutputTokens(rule, token_ids[index][:start], token_ids[index][start:], index)
                for index, start in starts.items()
            },
            "",
        )

    def _rule(self, record: RequestRecord) -> SamplingRule:
        return sampling_rule(record.path, record.request_body, self._defaults)


class TokenAudit:
    """The check of all choices of one answer."""

    def __init__(self, choices: Mapping[int, OutputTokens], unchecked: str) -> None:
        self._choices, self._unchecked = choices, unchecked
        self._reading: TokenReading | None = None

    def logits_requests(self) -> dict[int, LogitsRequest]:
        """Which logits are needed, by choice."""
        return {
            index: LogitsRequest(one.first_position, one.last_position, one.read)
            for index, one in self._choices.items()
        }

    def reading(self) -> TokenReading:
        """What was read, once all logits were."""
        if self._reading is None:
            choices = list(self._choices.values())
            self._reading = TokenReading(
                margins=tuple(float(one) for choice in choices for one in choice.margins().tolist()),
                leads=tuple(float(one) for choice in choices for one in choice.leads().tolist()),
                alternatives=alternative_fits(choices),
            )
        return self._reading

    def check(self) -> TokenCheck:
        """How many tokens were checked, how many the reference draws too, and what else explains them."""
        return token_check(self.reading(), self._unchecked)

    def evidence(self, noise: HonestNoise) -> tuple[Evidence, ...]:
        """The tokens' statistic; none when no token could be checked."""
        tokens = self.check()
        if not tokens.checked:
            return ()
        return (weigh(noise, "tokens", token_score(tokens, noise.margins)),)

    def explanation(self, noise: HonestNoise) -> str:
        """What explains the tokens best if the request's own sampling does not: "at temperature 0.8"."""
        return best_explanation(self.check(), noise.margins)
