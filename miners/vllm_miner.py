"""Start a miner: `python miners/vllm_miner.py --model Qwen/Qwen2.5-7B-Instruct --port 8091 …`."""

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from miners.config import load_config, plugins_with_ours  # noqa: E402
from miners.parent_death import end_with_parent  # noqa: E402
from shared.config import exit_on_config_error  # noqa: E402


def main() -> int:
    """Read the flags, then import what takes time, then serve until stopped."""
    config, vllm_flags = load_config()
    os.environ["VLLM_PLUGINS"] = plugins_with_ours(os.environ.get("VLLM_PLUGINS", ""))

    from miners.process import run_miner

    return run_miner(config, vllm_flags)


# vLLM spawns its engine, and each process that is spawned runs this file again under that name.
if __name__ == "__mp_main__":
    end_with_parent()

if __name__ == "__main__":
    exit_on_config_error(main)
