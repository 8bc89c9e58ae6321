import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pace import (
    HALF_LIFE_S,
    LOAD_SLOWDOWN,
    MIN_TOKENS,
    MOST_CHANGE,
    MOST_WEIGHT,
    UNMEASURED,
    Measured,
    Pace,
    PaceBook,
    Typical,
    prompt_band,
    slowdown,
)

SECONDS = st.floats(1e-4, 1e4)


def streamed(
    first_s: float | None = 0.5, rest_s: float = 2.0, tokens: int = 101, alongside: int = 0
) -> Measured:
    return Measured(3, first_s, rest_s, tokens, alongside, streamed=True)


def book(*answers: Measured, typical: Pace = UNMEASURED) -> PaceBook:
    paces = PaceBook()
    for answer in answers:
        paces.add(answer, typical, 0.0)
    return paces


def first_s(paces: PaceBook) -> float:
    found = paces.at(3).first
    assert found is not None
    return found.value_s


def token_s(paces: PaceBook) -> float:
    found = paces.at(3).token
    assert found is not None
    return found.value_s


def test_a_stream_tells_the_wait_and_the_time_between_tokens() -> None:
    paces = book(streamed(first_s=0.5, rest_s=2.0, tokens=101))
    assert first_s(paces) == 0.5
    assert token_s(paces) == pytest.approx(0.02)
    assert paces.at(3).time_s(UNMEASURED, 50) == pytest.approx(1.5)
    assert paces.at(4) == UNMEASURED


def test_an_answer_in_one_piece_tells_the_time_between_tokens_when_the_wait_is_known() -> None:
    whole = Measured(3, None, 2.5, 100, 0, streamed=False)
    assert token_s(book(whole)) == pytest.approx(0.025)
    assert token_s(book(whole, typical=Pace(first=Typical(0.5, 1.0, 0.0)))) == pytest.approx(0.02)


def test_short_answers_and_familiar_prompts_tell_only_what_they_can() -> None:
    assert book(streamed(tokens=MIN_TOKENS - 1)).at(3).token is None
    assert book(streamed(first_s=None)).at(3).first is None
    assert book(Measured(3, None, 0.0, 100, 0, streamed=False)).at(3).token is None


def test_one_outlier_moves_an_average_by_less_than_a_tenth() -> None:
    paces = book(*[streamed(first_s=0.5)] * 20)
    for outlier in (0.001, 1000.0):
        paces_with = book(*[streamed(first_s=0.5)] * 20, streamed(first_s=outlier))
        assert first_s(paces_with) / first_s(paces) == pytest.approx(1, abs=0.1)


def test_even_a_newcomers_first_answer_is_not_taken_at_its_word() -> None:
    typical = Pace(first=Typical(0.5, 8.0, 0.0))
    assert first_s(book(streamed(first_s=0.001), typical=typical)) >= 0.5 / MOST_CHANGE


def test_a_lasting_change_is_followed() -> None:
    paces = book(*[streamed(first_s=0.5)] * 20, *[streamed(first_s=5.0)] * 60)
    assert first_s(paces) == pytest.approx(5.0, rel=0.05)


def test_old_measurements_weigh_less() -> None:
    old = Typical(1.0, MOST_WEIGHT, 0.0)
    soon, late = old.with_sample(2.0, 0.0), old.with_sample(2.0, 10 * HALF_LIFE_S)
    assert soon.value_s < 1.1
    assert late.value_s == pytest.approx(2.0, rel=0.02)


def test_a_clock_that_is_behind_weighs_like_one_that_stands() -> None:
    old = Typical(1.0, MOST_WEIGHT, 100.0)
    assert old.with_sample(2.0, 50.0).value_s == old.with_sample(2.0, 100.0).value_s


def test_what_was_under_way_beside_an_answer_is_taken_out_of_it() -> None:
    busy = streamed(first_s=0.5 * slowdown(8), rest_s=2.0 * slowdown(8), alongside=8)
    assert first_s(book(busy)) == pytest.approx(first_s(book(streamed())))
    assert token_s(book(busy)) == pytest.approx(token_s(book(streamed())))
    assert slowdown(1) == 1 + LOAD_SLOWDOWN


def test_a_cached_beginning_shortens_the_wait_alone() -> None:
    pace = Pace(Typical(1.0, 1.0, 0.0), Typical(0.01, 1.0, 0.0))
    assert pace.time_s(UNMEASURED, 100, known_share=0.75) == pytest.approx(0.25 + 1.0)


def test_bands_are_steps_of_a_factor_of_four() -> None:
    assert [prompt_band(size) for size in (0, 1, 3, 4, 15, 16)] == [0, 0, 1, 1, 2, 2]
    assert prompt_band(4 << 20) < 16, "the number of bands is bounded by the largest body"


@given(st.lists(SECONDS, min_size=1, max_size=30))
def test_an_average_lies_within_its_samples(samples: list[float]) -> None:
    mean = Typical(samples[0], 1.0, 0.0)
    for sample in samples[1:]:
        mean = mean.with_sample(sample, 0.0)
    assert min(samples) * 0.999 <= mean.value_s <= max(samples) * 1.001
