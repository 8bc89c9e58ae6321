"""The real `python miners/vllm_miner.py` with a tiny model, against a real chain node."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import torch

from localnet.wallets import Party, create_party
from shared.calibration import read_calibration
from shared.canonical import sha256_hex, token_ids_digest
from shared.chain import SubtensorChain
from shared.challenges import OpenPoint, OpenRequest, ReplayPoint, ReplayRequest
from shared.commitments import CommittedPoints, leaf_bytes
from shared.merkle import path_leads_to_root
from shared.receipts import Receipt, check_receipt, parse_receipt
from shared.reference_model import ReferenceModel
from shared.sketches import bfloat16_from_bytes, cosine_distance, decode_base64, sketch, sketch_from_bytes
from shared.vllm_cpu import cpu_engine_flags
from shared.wallets import load_hotkey
from tests.miners.processes import are_gone, children, named
from tests.miners.running_miner import (
    NETUID,
    RunningMiner,
    free_port,
    miner_environment,
    register,
    running_chain,
    start_miner,
    stop,
)
from tests.shared.keys import OTHER_MINER

pytestmark = pytest.mark.vllm

MODEL = "tiny-qwen2"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "What does a lighthouse keeper write down?"}]

HONEST_DISTANCE = 0.0005
"""Above every distance between bfloat16 vLLM and the float32 reference on the random model (0.00004)."""

WRONG_DISTANCE = 0.01
"""Below every distance to a neighbour's or another layer's vector (0.035)."""


@dataclass(frozen=True)
class Subnet:
    """A chain with a registered miner and a validator, and the flags of the miner."""

    url: str
    folder: Path
    miner: Party
    validator: Party
    flags: tuple[str, ...]

    def start(self, name: str) -> RunningMiner:
        """Start the miner and wait until it serves."""
        port, log_file = free_port(), self.folder / f"{name}.log"
        process = start_miner([*self.flags, "--port", str(port)], log_file, miner_environment())
        caller = load_hotkey("validator", "default", self.folder)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0)
        started = RunningMiner(process, log_file, port, self.miner.hotkey, caller, client)
        try:
            started.wait_until_ready()
        except BaseException:
            stop(process)
            raise
        return started


@pytest.fixture(scope="module")
def subnet(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_calibration_file: Path
) -> Iterator[Subnet]:
    folder = tmp_path_factory.mktemp("subnet")
    with running_chain(folder / "chain") as url:
        miner, validator = create_party("miner", folder), create_party("validator", folder)
        register(url, miner)
        register(url, validator, permit=True)
        flags = (
            *("--model", str(tiny_model_folder), "--calibration", str(tiny_calibration_file)),
            *("--gpu-memory-utilization", "0.70", "--hf-device", "cpu"),
            *("--network", url, "--netuid", str(NETUID), "--wallet-path", str(folder)),
            *("--state-dir", str(folder / "state"), *cpu_engine_flags()),
        )
        yield Subnet(url, folder, miner, validator, flags)


@pytest.fixture(scope="module")
def miner(subnet: Subnet) -> Iterator[RunningMiner]:
    started = subnet.start("first")
    yield started
    if started.process.poll() is None:
        stop(started.process)


@pytest.fixture(scope="module")
def reference(tiny_model_folder: Path) -> ReferenceModel:
    return ReferenceModel.load(str(tiny_model_folder))


def receipt_of(answer: dict[str, Any], body: bytes, miner: RunningMiner) -> Receipt:
    """The receipt of an answer, with everything checked that the answer itself allows."""
    receipt = parse_receipt(orjson.dumps(answer["receipt"]))
    check_receipt(receipt)
    assert receipt.hotkey == miner.hotkey
    assert receipt.model == MODEL
    assert receipt.request_digest == sha256_hex(body)
    assert receipt.leaves == len(committed(receipt))
    return receipt


def committed(receipt: Receipt) -> CommittedPoints:
    shapes = [choice.shape() for choice in receipt.choices]
    return CommittedPoints(receipt.request_id, receipt.num_layers, shapes)


def check_openings(
    receipt: Receipt,
    token_ids: dict[int, list[int]],
    miner: RunningMiner,
    reference: ReferenceModel,
    file: Path,
) -> None:
    """Open every committed point; each leads to the root and is near the reference, but not its neighbour."""
    calibration, points = read_calibration(file), committed(receipt)
    wanted = [OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in points.points]
    shown = miner.open(OpenRequest(request_id=receipt.request_id, points=tuple(wanted))).openings
    assert len(shown) == len(wanted) > 0
    for number, opening in enumerate(one.opening() for one in shown):
        point, tokens = opening.point, token_ids[opening.point.choice]
        assert opening.token_id == tokens[point.position]
        leaf = leaf_bytes(point, opening.token_id, opening.sketch)
        root = bytes.fromhex(receipt.merkle_root)
        assert path_leads_to_root(leaf, number, receipt.leaves, opening.path, root)
        other = point.position - 1 if point.position else 1
        near = reference.hidden_states(tokens, {point.layer: [point.position, other]})[point.layer]
        theirs = sketch(near, *calibration.layer(point.layer)).to(torch.float32)
        ours = sketch_from_bytes(opening.sketch)
        assert cosine_distance(ours, theirs[0]) < HONEST_DISTANCE
        assert cosine_distance(ours, theirs[1]) > WRONG_DISTANCE


def test_health_is_open_and_says_who_serves_what(miner: RunningMiner, tiny_calibration_file: Path) -> None:
    assert miner.http.get("/health").json() == {
        "status": "ok",
        "model": MODEL,
        "num_layers": 4,
        "hidden_size": 256,
        "hotkey": miner.hotkey,
        "calibration_digest": read_calibration(tiny_calibration_file).digest,
    }


def test_the_self_test_ran_and_the_axon_is_published(miner: RunningMiner, subnet: Subnet) -> None:
    assert "the engine computes what the reference does" in miner.log

    async def axon() -> str | None:
        chain = SubtensorChain(subnet.url, NETUID)
        try:
            neurons = await chain.neurons()
        finally:
            await chain.close()
        return next(neuron.axon for neuron in neurons if neuron.hotkey == miner.hotkey)

    end = time.monotonic() + 30
    while (found := asyncio.run(axon())) is None and time.monotonic() < end:
        time.sleep(0.2)
    assert found == f"127.0.0.1:{miner.port}"


def test_a_chat_has_a_receipt_whose_openings_are_the_references(
    miner: RunningMiner, reference: ReferenceModel, tiny_calibration_file: Path
) -> None:
    request_id = uuid.uuid4().hex
    body, answer = miner.ask(
        CHAT, model=MODEL, messages=MESSAGES, max_tokens=40, seed=3, request_id=request_id
    )
    receipt = receipt_of(answer, body, miner)
    assert (receipt.request_id, receipt.seed) == (request_id, 3)
    prompt, output = answer["prompt_token_ids"], answer["choices"][0]["token_ids"]
    assert receipt.choices[0].prompt_digest == token_ids_digest(prompt)
    assert receipt.choices[0].output_digest == token_ids_digest(output)
    check_openings(receipt, {0: prompt + output}, miner, reference, tiny_calibration_file)


def test_a_stream_ends_with_its_receipt_after_the_usage(
    miner: RunningMiner, reference: ReferenceModel, tiny_calibration_file: Path
) -> None:
    messages = [{"role": "user", "content": "Count the boats."}]
    options = {"include_usage": True}
    body, events = miner.stream(CHAT, model=MODEL, messages=messages, max_tokens=20, stream_options=options)
    receipt = receipt_of(events[-1], body, miner)
    assert events[-1]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 20
    assert receipt.first_token_at_ms is not None
    assert receipt.received_at_ms <= receipt.first_token_at_ms <= receipt.finished_at_ms
    prompt = events[0]["prompt_token_ids"]
    output = [i for event in events for choice in event["choices"] for i in choice.get("token_ids") or []]
    check_openings(receipt, {0: prompt + output}, miner, reference, tiny_calibration_file)


def test_several_prompts_with_several_choices_are_covered_each(
    miner: RunningMiner, reference: ReferenceModel, tiny_calibration_file: Path
) -> None:
    prompts = ["The wind came from", "Two fishing boats passed inside the"]
    body, answer = miner.ask(COMPLETIONS, model=MODEL, prompt=prompts, n=2, max_tokens=18, seed=1)
    receipt = receipt_of(answer, body, miner)
    token_ids = {c["index"]: c["prompt_token_ids"] + c["token_ids"] for c in answer["choices"]}
    assert [choice.index for choice in receipt.choices] == [0, 1, 2, 3]
    assert len({tuple(ids) for ids in token_ids.values()}) == 4
    check_openings(receipt, token_ids, miner, reference, tiny_calibration_file)


def test_two_choices_of_one_chat_are_covered_in_a_stream(
    miner: RunningMiner, reference: ReferenceModel, tiny_calibration_file: Path
) -> None:
    body, events = miner.stream(CHAT, model=MODEL, messages=MESSAGES, n=2, max_tokens=20, seed=9)
    receipt = receipt_of(events[-1], body, miner)
    token_ids: dict[int, list[int]] = {0: [], 1: []}
    for event in events:
        for choice in event["choices"]:
            first = event.get("prompt_token_ids") or []
            token_ids[choice["index"]] += first + (choice.get("token_ids") or [])
    check_openings(receipt, token_ids, miner, reference, tiny_calibration_file)


def test_a_cached_prefix_is_named_and_not_committed_to(
    miner: RunningMiner, reference: ReferenceModel, tiny_calibration_file: Path
) -> None:
    prompt = list(range(1000, 1300))
    first_body, first = miner.ask(COMPLETIONS, model=MODEL, prompt=prompt, max_tokens=4)
    second_body, second = miner.ask(COMPLETIONS, model=MODEL, prompt=prompt, max_tokens=20)
    assert receipt_of(first, first_body, miner).choices[0].cached_tokens == 0
    receipt = receipt_of(second, second_body, miner)
    cached = receipt.choices[0].cached_tokens
    assert 0 < cached < 300
    assert min(point.position for point in committed(receipt).points) >= cached
    token_ids = {0: prompt + second["choices"][0]["token_ids"]}
    check_openings(receipt, token_ids, miner, reference, tiny_calibration_file)


def test_a_replay_gives_the_references_vectors_at_any_point(
    miner: RunningMiner, reference: ReferenceModel
) -> None:
    token_ids = tuple(range(2000, 2040))
    points = [ReplayPoint(position=p, layer=layer) for p, layer in ((0, 1), (17, 0), (17, 3), (39, 4))]
    answer = miner.replay(ReplayRequest(token_ids=token_ids, points=tuple(points)))
    assert [(v.position, v.layer) for v in answer.vectors] == [(p.position, p.layer) for p in points]
    for shown in answer.vectors:
        ours = bfloat16_from_bytes(decode_base64(shown.vector, 512), 256)
        theirs = reference.hidden_states(token_ids, {shown.layer: [shown.position]})[shown.layer][0]
        assert cosine_distance(ours, theirs) < HONEST_DISTANCE


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (
            ReplayRequest(token_ids=(1,) * 5000, points=(ReplayPoint(position=0, layer=1),)),
            400,
            "impossible_replay",
        ),
        (
            ReplayRequest(token_ids=(2**31,), points=(ReplayPoint(position=0, layer=1),)),
            400,
            "impossible_replay",
        ),
        (ReplayRequest(token_ids=(5,), points=(ReplayPoint(position=0, layer=5),)), 400, "impossible_replay"),
        (
            OpenRequest(request_id="never-seen", points=(OpenPoint(position=0, layer=1),)),
            404,
            "unknown_request",
        ),
        ({"form": "replay"}, 400, "malformed_challenge"),
    ],
)
def test_impossible_challenges_are_refused_in_words(
    miner: RunningMiner, request_: Any, status: int, code: str
) -> None:
    plain = request_ if isinstance(request_, dict) else request_.model_dump(mode="json")
    response = miner.post("/hidden_state", orjson.dumps(plain))
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_strangers_are_refused_everywhere_but_at_health(miner: RunningMiner) -> None:
    for method, path in (("POST", CHAT), ("POST", "/hidden_state"), ("GET", "/metrics"), ("GET", "/docs")):
        assert miner.http.request(method, path).status_code == 401
    body = orjson.dumps({"model": MODEL, "messages": MESSAGES})
    assert miner.post(CHAT, body, signer=OTHER_MINER).status_code == 403
    tampered = miner.http.post(CHAT, content=body + b" ", headers=miner.headers("POST", CHAT, body))
    assert tampered.status_code == 401


def test_validators_reach_metrics_but_no_route_without_receipts(miner: RunningMiner) -> None:
    metrics = miner.http.get("/metrics", headers=miner.headers("GET", "/metrics", b""))
    assert (metrics.status_code, "vllm:" in metrics.text) == (200, True)
    for path in ("/v1/responses", "/invocations", "/v1/messages"):
        assert miner.post(path, b"{}").status_code == 404


def test_errors_of_vllm_pass_through_in_openais_form(miner: RunningMiner) -> None:
    response = miner.post(CHAT, orjson.dumps({"model": "another", "messages": MESSAGES}))
    assert response.status_code == 404
    assert "does not exist" in response.json()["error"]["message"]
    response = miner.post(CHAT, orjson.dumps({"model": MODEL, "messages": MESSAGES, "temperature": -1}))
    assert response.status_code == 400


def test_a_request_id_is_answered_once(miner: RunningMiner) -> None:
    fields = {"model": MODEL, "messages": MESSAGES, "max_tokens": 2, "request_id": uuid.uuid4().hex}
    miner.ask(CHAT, **fields)
    assert miner.post(CHAT, orjson.dumps(fields)).status_code == 409


def running_requests(miner: RunningMiner) -> float:
    text = miner.http.get("/metrics", headers=miner.headers("GET", "/metrics", b"")).text
    line = next(line for line in text.splitlines() if line.startswith("vllm:num_requests_running{"))
    return float(line.rsplit(" ", 1)[1])


def test_a_client_that_leaves_ends_its_generation_and_leaves_no_commitment(miner: RunningMiner) -> None:
    request_id = uuid.uuid4().hex
    fields = {"model": MODEL, "messages": MESSAGES, "max_tokens": 1900, "ignore_eos": True, "stream": True}
    body = orjson.dumps({**fields, "request_id": request_id})
    headers = miner.headers("POST", CHAT, body)
    with miner.http.stream("POST", CHAT, content=body, headers=headers) as response:
        assert next(response.iter_lines()).startswith("data:")
    end = time.monotonic() + 10
    while running_requests(miner) > 0 and time.monotonic() < end:
        time.sleep(0.1)
    assert running_requests(miner) == 0
    challenge = OpenRequest(request_id=request_id, points=(OpenPoint(position=0, layer=1),))
    response = miner.post("/hidden_state", orjson.dumps(challenge.model_dump(mode="json")))
    assert response.status_code == 404


def test_sigterm_ends_the_miner_with_status_0_and_no_orphans(miner: RunningMiner) -> None:
    below = children(miner.process.pid)
    assert below
    assert stop(miner.process) == 0
    assert are_gone(below)


def test_sigterm_while_the_engine_starts_leaves_no_orphans(subnet: Subnet) -> None:
    log_file = subnet.folder / "interrupted.log"
    process = start_miner([*subnet.flags, "--port", str(free_port())], log_file, miner_environment())
    while not named(process.pid, b"EngineCore"):
        assert process.poll() is None, log_file.read_text()
        time.sleep(0.2)
    below = children(process.pid)
    assert stop(process) == 130
    assert are_gone(below)
    assert "stopped before the engine was ready" in log_file.read_text()


def test_a_restart_keeps_the_reference_and_an_engine_that_dies_ends_the_miner_with_status_1(
    subnet: Subnet,
) -> None:
    restarted = subnet.start("second")
    try:
        assert "computing the reference" not in restarted.log
        assert "the engine computes what the reference does" in restarted.log
        below = children(restarted.process.pid)
        (engine,) = named(restarted.process.pid, b"EngineCore")
        os.kill(engine, signal.SIGKILL)
        assert restarted.process.wait(60) == 1
        assert are_gone(below)
        assert "the engine died" in restarted.log
    finally:
        if restarted.process.poll() is None:
            stop(restarted.process)


def test_a_miner_that_is_killed_takes_its_engine_along(subnet: Subnet) -> None:
    log_file = subnet.folder / "killed.log"
    process = start_miner([*subnet.flags, "--port", str(free_port())], log_file, miner_environment())
    while not named(process.pid, b"Worker"):
        assert process.poll() is None, log_file.read_text()
        time.sleep(0.2)
    below = children(process.pid)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    assert are_gone(below)
