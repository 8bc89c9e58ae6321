"""What `python -m localnet.cheating_miner` runs, in its own process and in those of the engine."""

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from localnet.cheating_miner.behaviours import BEHAVIOURS, listing, read_cheat  # noqa: E402
from miners.config import load_config, plugins_with_ours  # noqa: E402
from miners.parent_death import end_with_parent  # noqa: E402
from shared.config import exit_on_config_error  # noqa: E402


def main() -> int:
    """Read the flags, then import what takes time, then serve until stopped."""
    if {"-h", "--help"} & set(sys.argv):
        print(listing())
    name, rest = read_cheat(sys.argv[1:])
    config, vllm_flags = load_config(rest)
    os.environ["VLLM_PLUGINS"] = plugins_with_ours(os.environ.get("VLLM_PLUGINS", ""))

    from localnet.cheating_miner.cheat import cheating_service
    from localnet.cheating_miner.construction import CHEATS
    from miners.process import run_miner

    return run_miner(config, [*vllm_flags, *BEHAVIOURS[name].engine_flags], cheating_service(CHEATS[name]))


if __name__ == "__mp_main__":
    from localnet.cheating_miner.engine_side import use_claiming_store

    end_with_parent()
    use_claiming_store()

if __name__ == "__main__":
    exit_on_config_error(main)
