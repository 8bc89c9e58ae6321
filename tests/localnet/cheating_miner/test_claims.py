import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localnet.cheating_miner.claims import Claim, ClaimedPositions
from localnet.cheating_miner.engine_side import ClaimingStore
from localnet.cheating_miner.prompt_cheats import as_claimed
from localnet.config import PROJECT_ROOT
from miners.errors import CaptureMismatch
from miners.hidden_states.engine_capture import CapturedChoice
from miners.hidden_states.request_names import ChoiceName
from miners.receipt_issuer import commitment_of
from miners.response_tokens import ResponseTokens
from shared.committed_positions import CommittedPositions
from tests.localnet.cheating_miner.rig import LAYERS, Engine, row

ID = "request-0001"


def prompts(shared: int, claimed: int, computed: int) -> tuple[list[int], list[int]]:
    """Two prompts that part after `shared` tokens and go on for so many each."""
    start = list(range(10, 10 + shared))
    return start + [1] * claimed, start + [2] * computed


async def captured(
    arguments: dict[str, int], computed: list[int], output: int, cached: int
) -> CapturedChoice:
    engine = Engine()
    engine.run(f"chatcmpl-{ID}", len(computed), output, arguments, cached)
    (choice,) = await engine.collect(ID)
    return choice


def test_a_claim_says_where_the_prompts_part() -> None:
    claimed, computed = prompts(shared=5, claimed=3, computed=7)
    claim = Claim.between(claimed, computed)
    assert claim == Claim(prompt_tokens=8, shared=5, shift=4)
    assert [claim.computed(position) for position in (0, 4, 5, 7, 8)] == [0, 4, 9, 11, 12]
    assert Claim.read(claim.arguments()) == claim


def test_a_shorter_prompt_never_stands_before_its_beginning() -> None:
    claim = Claim.between(*prompts(shared=2, claimed=9, computed=1))
    assert [claim.computed(position) for position in range(12)] == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3]


def test_equal_prompts_stand_for_themselves() -> None:
    claim = Claim.between([1, 2, 3, 4], [1, 2, 3, 4])
    assert [claim.computed(position) for position in range(6)] == list(range(6))


@pytest.mark.parametrize("arguments", [{}, {"claimed_prompt_tokens": 3}, {"other": 1}])
def test_arguments_without_a_claim_are_none(arguments: dict[str, object]) -> None:
    assert Claim.read(arguments) is None


@given(
    shared=st.integers(0, 60),
    claimed=st.integers(1, 60),
    longer=st.integers(1, 60),
    output=st.integers(1, 50),
    cached_share=st.floats(0, 1),
)
async def test_a_claimed_prompts_commitment_is_complete_and_each_sketch_is_of_its_computed_position(
    shared: int, claimed: int, longer: int, output: int, cached_share: float
) -> None:
    shown, computed = prompts(shared, claimed, longer)
    claim = Claim.between(shown, computed)
    choice = await captured(claim.arguments(), computed, output, int(cached_share * (len(computed) - 1)))
    tokens = ResponseTokens(prompt={0: shown}, output={0: list(range(output))})
    commitment = commitment_of(ID, LAYERS, tokens, [as_claimed(choice, claim, ID)])
    (shape,) = commitment.choices
    assert (shape.prompt_tokens, shape.output_tokens) == (len(shown), output)
    assert shape.cached_tokens < len(shown)
    expected = b"".join(row(claim.computed(position)) for position in shape.positions(ID))
    assert commitment.sketches == expected


async def test_captures_of_another_prompt_without_a_claim_get_no_receipt() -> None:
    shown, computed = prompts(shared=4, claimed=20, computed=50)
    choice = await captured({}, computed, 8, 0)
    tokens = ResponseTokens(prompt={0: shown}, output={0: list(range(8))})
    with pytest.raises(CaptureMismatch):
        commitment_of(ID, LAYERS, tokens, [choice])


@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 30))
def test_positions_are_the_same_however_the_computation_is_cut(
    shared: int, claimed: int, computed: int, step: int
) -> None:
    claim = Claim.between(*prompts(shared, claimed, computed))
    positions = ClaimedPositions(ChoiceName(ID, 0), claim)
    pieces = [position for start in range(0, 120, step) for position in positions.within(start, start + step)]
    assert pieces == positions.within(0, -(-120 // step) * step)


def test_a_store_without_a_claim_keeps_what_the_stock_store_keeps() -> None:
    store = ClaimingStore()
    store.begin(f"chatcmpl-{ID}-0123abcd", 40, 0, {})
    assert store.wanted(f"chatcmpl-{ID}-0123abcd", 0, 80) == CommittedPositions(ID, 0, 40).within(0, 80)


def test_a_strangers_request_with_a_claim_is_not_kept() -> None:
    store = ClaimingStore()
    store.begin("warm-up", 40, 0, Claim(40, 3, 0).arguments())
    assert len(store) == 0


def test_the_engines_worker_gets_the_claiming_store() -> None:
    program = (
        "import sys; from localnet.cheating_miner.engine_side import ClaimingStore, use_claiming_store\n"
        "assert not {'torch', 'vllm'} & set(sys.modules), 'the patch must come before what is heavy'\n"
        "use_claiming_store()\n"
        "from miners.hidden_states import worker; print(worker.CaptureStore is ClaimingStore)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PROJECT_ROOT, check=False
    )
    assert result.stdout.strip() == "True", result.stderr
