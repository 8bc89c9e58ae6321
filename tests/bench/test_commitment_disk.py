"""The benchmark writes whole commitments of the shape that it names, and reads them back."""

from pathlib import Path

from bench.commitment_disk import OUTPUT_TOKENS, PROMPT_TOKENS, DiskCost, example, measure


def test_the_example_is_a_whole_commitment() -> None:
    assert example(3).tree().size == len(example(3).points()) > 3 * OUTPUT_TOKENS // 16


def test_what_is_measured_was_written(tmp_path: Path) -> None:
    cost = measure(tmp_path, rounds=3, layers=2)
    token_bytes = example(2).size_bytes / (PROMPT_TOKENS + OUTPUT_TOKENS)
    assert token_bytes < cost.bytes_a_token < 1.1 * token_bytes
    assert min(cost.memory_us, cost.disk_us, cost.restore_mib_a_second) > 0


def test_the_share_of_a_core_counts_what_the_disk_adds() -> None:
    assert DiskCost(100.0, 1380.0, 0.0, 0.0).share_of_a_core == 0.001
