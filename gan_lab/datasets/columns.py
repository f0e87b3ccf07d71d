"""What a data set's columns are, said before anything is loaded. Imports neither torch nor numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["picture", "points", "label", "mask", "tokens", "values"]


@dataclass(frozen=True)
class Column:
    """One column of a data set: rows that are stored as `dtype` and seen by the networks in `shape`.

    Pictures are (C, H, W) and stored as uint8, uint16 or float32; masks (H, W), uint8; points (2,), float32; labels (),
    tokens (L,), both int64. `range` is that of the values that the networks see, None where there are no bounds.
    `num_classes` belongs to labels, masks and tokens. Tokens are numbers of words in `vocabulary`, whose first one, "",
    ends a sentence and fills the rest of its row; `separator` stands between words, where a sentence is shown.

    What was measured keeps its units: `window` is what -1 and 1 stand for, in `unit`, such as HU (Hounsfield
    units), and what is outside was clipped; `spacing` is the height and width of a pixel in mm.
    """

    kind: Kind
    shape: tuple[int, ...]
    dtype: str
    range: tuple[float, float] | None = None
    num_classes: int | None = None
    vocabulary: tuple[str, ...] = ()
    separator: str = ""
    window: tuple[float, ...] = ()
    unit: str = ""
    spacing: tuple[float, ...] = ()


OPTIONAL = ("vocabulary", "separator", "window", "unit", "spacing")  # left out of files where they say nothing


def described(dataset: Any) -> dict[str, Column]:
    """The columns of a data set: its own `columns`, else what its `sample_shape` and `num_classes` say of it."""
    own: Mapping[str, Column] | None = getattr(dataset, "columns", None)
    return dict(own) if own is not None else described_by(tuple(dataset.sample_shape), dataset.num_classes)


def described_by(shape: tuple[int, ...], classes: int | None) -> dict[str, Column]:
    """The columns of samples of a shape, pictures of 8 bits or points, with classes where there are some."""
    if len(shape) == 3:
        columns = {"sample": Column("picture", shape, "uint8", (-1.0, 1.0))}
    else:
        columns = {"sample": Column("points" if len(shape) == 1 else "values", shape, "float32")}
    return columns if classes is None else columns | {"label": Column("label", (), "int64", num_classes=classes)}


def to_plain(columns: Mapping[str, Column]) -> dict[str, dict[str, Any]]:
    """Columns in types that every file format knows, for checkpoints."""
    plain = {name: dataclasses.asdict(column) for name, column in columns.items()}
    return {
        name: {k: list(v) if isinstance(v, tuple) else v for k, v in of.items() if v or k not in OPTIONAL}
        for name, of in plain.items()
    }


def from_plain(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Column]:
    """The columns that `to_plain` was given."""
    columns = {}
    for name, of in plain.items():
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in of.items()}
        columns[name] = Column(**values)
    return columns
