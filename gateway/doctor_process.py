"""What a running gateway says of itself, and what it needs on disk."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.calibration import load_calibration
from gateway.config import GatewayConfig
from shared.diagnosis import Finding, bad, note, ok, warn
from shared.diagnosis_http import HealthAnswer
from shared.errors import ConfigError, ModelError
from shared.model_identity import local_folder

RUNBOOKS = "docs/RUNBOOKS.md"

OLD_METAGRAPH_S = 600.0
"""Miners that moved or left since are not known; the metagraph is read every half minute."""


def judge_gateway(answer: HealthAnswer, hotkey: str | None) -> Sequence[Finding]:
    """Whether the running gateway can serve, and why not."""
    if answer.body is None:
        return [note("process", f"no gateway answers on the port: {answer.failure}")]
    if not answer.is_of(hotkey):
        return []
    body = answer.body
    cure = f"see {RUNBOOKS}, “The gateway answers 503”"
    reasons = [bad("process", f"it can't serve: {reason}", cure) for reason in body.get("reasons", [])]
    known, usable = body.get("miners_known", 0), body.get("miners_callable", 0)
    serving = [] if reasons else [ok("process", f"the gateway serves, with {usable} of {known} miners")]
    return [*reasons, *serving, *_metagraph(body)]


def _metagraph(body: Mapping[str, Any]) -> Sequence[Finding]:
    age_s = body.get("metagraph_age_s")
    if age_s is None or age_s <= OLD_METAGRAPH_S:
        return []
    words = f"its list of miners is {age_s:.0f} s old: {body.get('metagraph_error') or 'no error is known'}"
    return [warn("process", words, f"see {RUNBOOKS}, “The chain is stuck or away”")]


def check_model_files(config: GatewayConfig) -> Sequence[Finding]:
    """The tokenizer's files, and the calibration that is served. Blocks; fetches no model."""
    return [_tokenizer(config), _calibration(config)]


def _tokenizer(config: GatewayConfig) -> Finding:
    try:
        folder = local_folder(config.model, weights=False, fetch=False)
    except ModelError:
        words = f"{config.model} is not on this machine; the gateway fetches its tokenizer when it starts"
        return note("model", words)
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    if missing:
        return bad("model", f"{folder} lacks {' and '.join(missing)}", f"hf download {config.model}")
    return ok("model", f"tokenizer and configuration in {folder}")


def _calibration(config: GatewayConfig) -> Finding:
    cure = "pass --calibration FILE, or the URL of another gateway of the network"
    try:
        served = load_calibration(config.model, config.calibration, config.state_dir.expanduser())
    except ConfigError as error:
        return bad("calibration", str(error), cure)
    if served is None:
        return note("calibration", "no calibration file is served, so miners must get it elsewhere", cure)
    return ok("calibration", f"serves {served.offer.sha256[:16]}, for {served.offer.model}")
