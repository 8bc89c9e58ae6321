import dataclasses
import json
from pathlib import Path

from localnet.leaderboard import (
    AuditorShares,
    Audits,
    Epoch,
    Row,
    read_epoch,
    read_latest,
    read_summary,
    render,
    shortcomings,
)
from localnet.roles import ROLES
from shared.object_store import FolderStore
from tests.shared.keys import MINER, OTHER_MINER, VALIDATOR
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    results_of,
    seal,
    summary_key,
)
from validator.epoch_tables import EpochContents, epoch_files, records_root
from validator.measurement import EpochInputs, RegisteredMiner
from validator.scoring_config import ScoringConfig
from validator.verdicts import Evidence, Verdict

HONEST = frozenset({"honest"})


def row(role: str, weight: int, score: float = 0.5) -> Row:
    audits = Audits(5, 0, 0) if weight else Audits(0, 5, 0)
    reasons = ("5 of 5 audits failed",) if not weight else ()
    return Row(2, MINER.ss58_address, role, 12, 30.5, 90.0, audits, reasons, score, weight)


def test_an_epoch_in_which_honest_miners_earn_and_cheats_do_not_has_no_shortcoming() -> None:
    assert shortcomings(Epoch(1, (row("honest", 65535), row("int4", 0))), HONEST) == []


def test_a_cheat_with_weight_is_named() -> None:
    (complaint,) = shortcomings(Epoch(3, (row("honest", 65535), row("int4", 1))), HONEST)
    assert "epoch 3" in complaint
    assert "cheats and has weight 1" in complaint


def test_an_honest_miner_without_weight_is_named_with_its_reasons() -> None:
    (complaint,) = shortcomings(Epoch(1, (row("honest", 0),)), HONEST)
    assert "honest and has no weight" in complaint
    assert "5 of 5 audits failed" in complaint


def test_the_table_shows_every_column_and_why_a_miner_has_nothing() -> None:
    text = render(Epoch(1, (row("honest", 65535), row("int4", 0, score=0.0))))
    for shown in ("uid", "honest", "int4", "30.5", "5/0/0", "0/5/0", "65535", "· 5 of 5 audits failed"):
        assert shown in text


def test_a_miner_without_measurements_is_shown_with_dashes() -> None:
    silent = dataclasses.replace(row("honest", 0, 0.0), tokens_per_s=None, ttft_ms=None)
    assert "–" in render(Epoch(1, (silent,)))


def test_the_json_form_has_exactly_the_promised_keys() -> None:
    (miner,) = json.loads(json.dumps(Epoch(1, (row("honest", 65535),)).as_json()))["miners"]
    assert set(miner) == {
        *("uid", "hotkey", "role", "requests", "tokens_per_s", "ttft_ms"),
        *("audits", "reasons", "score", "weight_on_chain"),
    }
    assert miner["audits"] == {"pass": 5, "fail": 0, "inconclusive": 0}


def test_of_several_auditors_the_table_says_who_made_how_many_audits() -> None:
    shares = AuditorShares("left (3abc)", {"left": 4, "right": 19})
    epoch = Epoch(1, (row("honest", 65535),), shares)
    assert render(epoch).endswith("audits: left made 4, right made 19; left leads")
    assert epoch.as_json()["auditors"] == {"left": 4, "right": 19}
    alone = Epoch(1, (row("honest", 65535),))
    assert "audits:" not in render(alone)
    assert "auditors" not in alone.as_json()


def failed_verdict() -> Verdict:
    return Verdict(
        request_id="request-one",
        miner_uid=3,
        miner_hotkey=OTHER_MINER.ss58_address,
        outcome="fail",
        check="sketch",
        reason="the sketches are 30 times farther from the reference than honest ones",
        evidence=(Evidence(statistic="mean", score=30.0, p_value=1e-6),),
        log_e=6.0,
        points=(),
        tokens=None,
        challenge_block=5,
        challenge_block_hash="0x" + "00" * 32,
        challenge_seed="0" * 64,
        audited_at_ms=1,
    )


def publish(store: FolderStore) -> EpochSummary:
    miners = (
        RegisteredMiner(uid=2, hotkey=MINER.ss58_address),
        RegisteredMiner(uid=3, hotkey=OTHER_MINER.ss58_address),
    )
    verdicts = [failed_verdict()]
    results = results_of(EpochInputs(1, (), verdicts, miners, ()), ScoringConfig())
    contents = EpochContents((), (), (), verdicts, (), results.scores, ())
    files = epoch_files(contents, "2026-01-01", 1)
    summary = EpochSummary(
        netuid=97,
        model="tiny",
        calibration_sha256="0" * 64,
        epoch=1,
        publisher=VALIDATOR.ss58_address,
        opened_at_ms=1,
        closed_at_ms=2,
        block=5,
        block_hash="0x" + "00" * 32,
        previous_digest=None,
        files=tuple(file.digest for file in files),
        manifest_sha256="0" * 64,
        records=0,
        records_root=records_root(()),
        miners=miners,
        challenge_blocks=(),
        audits_outstanding=0,
        history=(),
        scoring=ScoringConfig(),
        scores=results.scores,
        weights=results.weights,
        history_after=results.history_after,
        refusals=(),
        refusals_after=results.refusals_after,
        round_secret=None,
        round_commitment=None,
        probes=results.probes,
        rounds_after=results.rounds_after,
    )
    for file in files:
        store.create(file.digest.key, file.data)
    store.create(summary_key(1), seal(summary, VALIDATOR))
    store.put(LATEST_KEY, LatestEpoch(epoch=1, digest="0" * 64).model_dump_json().encode())
    return summary


def test_rows_come_from_what_was_published_and_what_stands_on_chain(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    publish(store)
    assert read_latest(store) == 1
    roles = {MINER.ss58_address: "honest", OTHER_MINER.ss58_address: "int4"}
    epoch = read_epoch(store, read_summary(store, 1), roles, {2: 65535})
    assert [(r.uid, r.role, r.weight_on_chain) for r in epoch.rows] == [(2, "honest", 65535), (3, "int4", 0)]
    assert epoch.rows[1].audits.failed == 1
    assert "farther from the reference" in epoch.rows[1].reasons[-1]


def test_exactly_one_role_is_honest_and_serves_the_models_own_folder() -> None:
    assert [role.name for role in ROLES.values() if role.honest] == ["honest"]
    assert ROLES["honest"].write_model is None
