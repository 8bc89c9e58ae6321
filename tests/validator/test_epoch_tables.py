import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataset import is_table_key
from shared.errors import MalformedMessage
from shared.merkle import MerkleTree, path_leads_to_root
from shared.request_facts import RequestRow, facts_of_rows, request_row
from tests.validator.auditor_examples import block_number, example_record, example_verdict
from validator.dataset_columns import DESCRIPTIONS
from validator.epoch_tables import FORMATS, EpochContents, epoch_files, records_root
from validator.request_facts import facts_of, text_of

RECORDS = [example_record(number) for number in range(6)]
FACTS = [facts_of(record) for record in RECORDS]
VERDICTS = [example_verdict(record, block_number(1)) for record in RECORDS]
TEXTS = [text for text in map(text_of, RECORDS) if text is not None]


def contents(order: list[int]) -> EpochContents:
    return EpochContents(
        requests=[FACTS[number] for number in order],
        texts=[TEXTS[number] for number in order],
        exchanges=[],
        verdicts=[VERDICTS[number] for number in order],
        rounds=[],
        scores=[],
        weights=[],
    )


@given(st.permutations(range(6)))
def test_files_are_the_same_bytes_in_whatever_order_they_are_given(order: list[int]) -> None:
    assert epoch_files(contents(order), "2026-01-02", 3) == FILES


def test_files_read_back() -> None:
    found = {file.digest.table: FORMATS[file.digest.table].decode(file.data, "file", 6) for file in FILES}
    receipts = {one.key: one.receipt for one in found["receipts"]}
    assert [facts_of_rows(row, receipts[row.key]) for row in found["requests"]] == FACTS
    assert (found["verdicts"], found["texts"], found["rounds"]) == (VERDICTS, TEXTS, [])
    assert all(is_table_key(file.digest.key, file.digest.table, 3) for file in FILES)


def test_a_key_is_only_of_its_own_table_and_epoch() -> None:
    key = "dataset/texts/date=2026-01-02/epoch=3/part-0.parquet"
    assert is_table_key(key, "texts", 3)
    assert not is_table_key(key, "requests", 3)
    assert not is_table_key(key, "texts", 30)
    assert not is_table_key(key.replace("epoch=3", "epoch=03"), "texts", 3)
    assert not is_table_key("../" + key, "texts", 3)


def test_every_column_of_every_table_is_described() -> None:
    for table, written in FORMATS.items():
        assert set(written.arrow.names) == set(DESCRIPTIONS[table])
        assert all(field.metadata[b"description"] for field in written.arrow)


@pytest.mark.parametrize("table", FORMATS)
def test_a_table_is_not_read_as_another(table: str) -> None:
    data = next(file.data for file in FILES if file.digest.table == table)
    for other, written in FORMATS.items():
        if other != table:
            with pytest.raises(MalformedMessage, match=f"has the schema {table}/1"):
                written.decode(data, "file", 10)


def test_a_rows_leaf_and_its_path_prove_the_record_and_no_other() -> None:
    rows: list[RequestRow] = [request_row(one) for one in FACTS]
    tree = MerkleTree([one.leaf() for one in FACTS])
    root = bytes.fromhex(records_root(FACTS))
    assert root == tree.root
    for index, facts in enumerate(FACTS):
        path = tree.path(index)
        assert path_leads_to_root(facts.leaf(), index, len(FACTS), path, root)
        changed = facts.model_copy(update={"output_tokens": facts.output_tokens + 1})
        assert not path_leads_to_root(changed.leaf(), index, len(FACTS), path, root)
        assert request_row(changed).leaf != rows[index].leaf


def test_the_root_depends_on_every_record_and_not_on_their_order() -> None:
    assert records_root(FACTS[::-1]) == records_root(FACTS)
    assert records_root(FACTS[1:]) != records_root(FACTS)
    assert len({records_root(FACTS[:count]) for count in range(7)}) == 7


FILES = epoch_files(contents(list(range(6))), "2026-01-02", 3)
