"""`python -m validator.trial --axon IP:PORT --miner-hotkey 5…`: would this miner pass its audits?

Each audit is one JSON line on standard output: its verdict, and the p-value below which a statistic fails.
Miners run it on themselves: their doctor starts it with the miner's own hotkey.
"""

import asyncio
import json
import os
import sys

from shared.config import exit_on_config_error, load
from shared.errors import ConfigError, ConstantinopleError
from validator.trial_config import DESCRIPTION, TrialConfig


def main() -> int:
    """Audit; one sentence and status 1 when it can't be done."""
    config = load(TrialConfig, DESCRIPTION, prog="python -m validator.trial")
    if config.axon is None or config.miner_hotkey is None:
        raise ConfigError("name the miner with --axon IP:PORT and --miner-hotkey 5…")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        asyncio.run(_run(config, config.axon, config.miner_hotkey))
    except ConfigError:
        raise
    except ConstantinopleError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


async def _run(config: TrialConfig, axon: str, hotkey: str) -> None:
    # torch and transformers take seconds.
    from shared.wallets import load_hotkey
    from validator.evidence import FAIL_P_VALUE
    from validator.trial_audit import trial_audits

    signer = load_hotkey(config.wallet, config.hotkey, config.wallet_path)
    async for verdict in trial_audits(config, signer, axon, hotkey):
        line = {"fail_p_value": FAIL_P_VALUE, "verdict": verdict.model_dump(mode="json")}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    exit_on_config_error(main)
