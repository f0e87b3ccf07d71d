"""Tables as pandas frames. pandas is optional."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def frame(rows: Iterable[Mapping[str, Any]], what: str, index: str | None = None) -> pandas.DataFrame:
    """A frame with these rows, indexed by one of their keys. Raises ValueError, which names `what`, without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise ValueError(f'{what} needs pandas: pip install "hydra-gan-lab[notebook]"') from error
    made = pandas.DataFrame(list(rows))
    return made.set_index(index) if index in made else made
