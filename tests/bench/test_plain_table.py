import subprocess
import sys

from bench.plain_table import plain
from localnet.config import PROJECT_ROOT


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    assert plain(("a", "bb"), [("long", "1"), ("x", "22")]) == "a     bb\nlong  1\nx     22"


def test_a_benchmark_of_numbers_alone_loads_no_model_library() -> None:
    program = (
        "import sys, bench.incentives.run\n"
        "print(sorted({'torch', 'transformers', 'vllm'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[]\n"
