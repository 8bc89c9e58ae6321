"""`python -m localnet.cheating_miner --cheat NAME …`, with the flags of `miners/vllm_miner.py`."""

import os
import sys
from pathlib import Path

_SERVER = Path(__file__).with_name("server.py")
"""vLLM's processes run the main script again under another name, which Python does not do for a package."""

if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, str(_SERVER), *sys.argv[1:]])
