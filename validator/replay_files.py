"""Whether an epoch's files are those that its signed summary names, and the manifest says the same."""

from pathlib import Path

from shared.canonical import sha256_hex
from shared.dataset import FileDigest, Manifest, day_of, files_of, is_table_key, manifest_key
from shared.errors import MalformedMessage
from validator.epoch_evidence import EpochRefused
from validator.epoch_reading import MAX_ROWS, parse
from validator.epoch_summary import EpochSummary
from validator.epoch_tables import FORMATS
from validator.replay_downloads import MAX_EPOCH_BYTES, Downloads
from validator.replay_epoch import Files


def download_epoch(downloads: Downloads, summary: EpochSummary) -> Files:
    """Download all files that a summary names, and hold each against its digest, size, rows and columns.

    Raises:
        EpochRefused: one is missing, exchanged or of another form, or the manifest says something else.
        StoreError: the store failed.
    """
    check_names(summary)
    check_manifest(downloads.manifest(manifest_key(summary.epoch)), summary)
    files: dict[str, Path] = {}
    for file in summary.files:
        files[file.key] = downloads.file(file)
        _check_rows(file, files[file.key])
    return files


def check_names(summary: EpochSummary) -> None:
    """Every table has a file, every file lies where its table's lie, and all together are no flood.

    Raises:
        EpochRefused: it is not so.
    """
    day = day_of(summary.closed_at_ms)
    for table in FORMATS:
        if not files_of(summary.files, table):
            raise EpochRefused("file", f"epoch {summary.epoch} names no table of {table}")
    for file in summary.files:
        if not is_table_key(file.key, file.table, summary.epoch) or f"/date={day}/" not in file.key:
            raise EpochRefused(
                "file", f"{file.key} is no file of the {file.table} of epoch {summary.epoch}, closed on {day}"
            )
    if len({file.key for file in summary.files}) < len(summary.files):
        raise EpochRefused("file", f"epoch {summary.epoch} names a file twice")
    size = sum(file.size_bytes for file in summary.files)
    if size > MAX_EPOCH_BYTES or any(file.rows > MAX_ROWS for file in summary.files):
        raise EpochRefused("file", f"the files of epoch {summary.epoch} are too large: {size} bytes")


def check_manifest(data: bytes, summary: EpochSummary) -> None:
    """The manifest is the one of the summary, names the same files, and their columns as they are.

    Raises:
        EpochRefused: it is not so.
    """
    name = manifest_key(summary.epoch)
    if sha256_hex(data) != summary.manifest_sha256:
        raise EpochRefused("file", f"{name} is not the manifest that the summary names")
    manifest = parse("file", Manifest, data, name)
    told = tuple(
        FileDigest(**{key: getattr(one, key) for key in FileDigest.model_fields}) for one in manifest.files
    )
    stated = (manifest.epoch, manifest.date, manifest.records, manifest.records_root)
    expected = (summary.epoch, day_of(summary.closed_at_ms), summary.records, summary.records_root)
    if told != summary.files or stated != expected:
        raise EpochRefused("file", f"{name} says something else than the summary")
    for one in manifest.files:
        columns = [(column.name, column.type) for column in one.columns]
        written = FORMATS[one.table]
        if columns != [(field.name, str(field.type)) for field in written.arrow]:
            raise EpochRefused("file", f"{name} describes other columns than {one.table} have")
        if one.schema_version != written.schema:
            raise EpochRefused("file", f"{name} names the schema {one.schema_version} for {one.table}")


def _check_rows(file: FileDigest, path: Path) -> None:
    try:
        rows = FORMATS[file.table].count(path, file.key, file.rows)
    except MalformedMessage as error:
        raise EpochRefused("file", str(error)) from None
    if rows != file.rows:
        raise EpochRefused("file", f"{file.key} has {rows} rows, the summary says {file.rows}")


def files_words(summary: EpochSummary) -> str:
    """What was downloaded, in words."""
    rows = sum(file.rows for file in summary.files)
    size = sum(file.size_bytes for file in summary.files)
    return (
        f"{len(summary.files)} files of {size / 1e6:.1f} MB have the digests, sizes, columns and {rows} rows "
        "that the summary and the manifest state"
    )
