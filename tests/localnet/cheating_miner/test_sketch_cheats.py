import torch

from localnet.cheating_miner.sketch_cheats import RandomSketches, ReplayedSketches
from shared.commitments import Commitment, leaf_bytes
from shared.merkle import path_leads_to_root
from shared.sketches import SKETCH_BYTES, sketch_from_bytes
from tests.localnet.cheating_miner.rig import ID, LAYERS, Rig, row

LONG = [{"role": "user", "content": "A longer question. " * 12}]


def held(rig: Rig, request_id: str = ID) -> Commitment:
    commitment = rig.commitments.get(request_id)
    assert commitment is not None
    return commitment


def true_sketches(commitment: Commitment) -> bytes:
    return b"".join(row(position) for position in commitment.choices[0].positions(commitment.request_id))


async def test_random_sketches_have_the_scale_of_honest_ones_and_nothing_of_their_values() -> None:
    rig = Rig(lambda parts: RandomSketches())
    await rig.ask(messages=LONG)
    commitment = held(rig)
    true = true_sketches(commitment)
    assert len(commitment.sketches) == len(true)
    parts = [commitment.sketches[i : i + SKETCH_BYTES] for i in range(0, len(true), SKETCH_BYTES)]
    numbers = torch.stack([sketch_from_bytes(part) for part in parts])
    assert 0.8 < float(numbers.std()) < 1.2
    assert len(set(parts)) == len(parts)
    assert not any(part == true[:SKETCH_BYTES] for part in parts)


async def test_random_sketches_differ_from_request_to_request() -> None:
    rig = Rig(lambda parts: RandomSketches())
    await rig.ask(request_id="request-0001")
    await rig.ask(request_id="request-0002")
    first, second = (held(rig, name).sketches[:SKETCH_BYTES] for name in ("request-0001", "request-0002"))
    assert first != second


async def test_the_first_request_is_committed_to_honestly_and_replayed_afterwards() -> None:
    rig = Rig(lambda parts: ReplayedSketches())
    await rig.ask(request_id="request-0001")
    await rig.ask(request_id="request-0002", messages=LONG)
    first, second = held(rig, "request-0001"), held(rig, "request-0002")
    assert first.sketches == true_sketches(first)
    assert second.sketches != true_sketches(second)
    rows = {first.sketches[i : i + LAYERS * SKETCH_BYTES] for i in range(0, len(first.sketches), 256)}
    replayed = [second.sketches[i : i + LAYERS * SKETCH_BYTES] for i in range(0, len(second.sketches), 256)]
    assert len(second.sketches) == len(second.points()) * SKETCH_BYTES
    assert set(replayed) <= rows


async def test_a_replayed_commitment_opens_to_its_own_root() -> None:
    rig = Rig(lambda parts: ReplayedSketches())
    await rig.ask(request_id="request-0001")
    await rig.ask(request_id="request-0002", messages=LONG)
    commitment = held(rig, "request-0002")
    root, points = commitment.tree().root, commitment.points().points
    for number, opening in enumerate(commitment.open(points)):
        assert opening is not None
        leaf = leaf_bytes(opening.point, opening.token_id, opening.sketch)
        assert path_leads_to_root(leaf, number, len(points), opening.path, root)
