"""The chat template of Qwen2.5-Instruct (Apache-2.0), as in its tokenizer_config.json."""

from pathlib import Path

QWEN25_TEMPLATE = Path(__file__).with_name("qwen25.jinja").read_text()
