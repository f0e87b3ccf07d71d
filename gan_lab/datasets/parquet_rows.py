"""Pictures of a Parquet file as the Hub has them: a column of their bytes, or of structures with a field `bytes`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gan_lab.datasets.packed import refuse_large
from gan_lab.datasets.sharded import LARGEST, Fault, Sample
from gan_lab.datasets.sources import one_line
from gan_lab.datasets.trusted_files import check_regular, shown_name

ROWS = 64  # in memory at once, or fewer


def samples_of_parquet(file: Path, picture: str | None, label: str | None, labelled: bool) -> Iterator[Sample | Fault]:
    """The samples of a file, in its order. Raises ValueError for a damaged file, and for columns that it lacks."""
    import pyarrow
    from pyarrow import parquet

    columns = [picture or "image", *([label or "label"] if labelled else [])]
    number = 0
    try:
        check_regular(file)
        with parquet.ParquetFile(file, pre_buffer=False) as content:
            _check(file, content, columns)
            for group in range(content.num_row_groups):
                rows = _rows_at_once(content.metadata.row_group(group))
                for batch in content.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
                    for row in batch.to_pylist():
                        yield _sample(f"{file.name}/{number}", *(row[name] for name in columns), labelled=labelled)
                        number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file} is no whole Parquet file ({one_line(error)}); get it again") from error


def _check(file: Path, content: Any, columns: list[str]) -> None:
    known = content.schema_arrow.names
    for name, key in zip(columns, ("picture", "label"), strict=False):
        if name not in known:
            has = shown_name(", ".join(known))
            raise ValueError(f"{file} has no column {name}, but {has}; name it by dataset.{key}")


def _rows_at_once(group: Any) -> int:
    """How many rows of a group may be in memory. Equal values are stored once, so each row may be the whole group."""
    packed = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
    refuse_large(group.total_byte_size, packed)
    return min(max(LARGEST // max(group.total_byte_size, 1), 1), ROWS)


def _sample(name: str, picture: Any, label: Any = None, *, labelled: bool) -> Sample | Fault:
    content = picture.get("bytes") if isinstance(picture, dict) else picture
    if not isinstance(content, bytes) or len(content) > LARGEST:
        return Fault(name, "it has no picture in bytes")
    if labelled and (type(label) is not int or label < 0):
        return Fault(name, "it has no class, a number from 0 on")
    return Sample(name, content, label)
