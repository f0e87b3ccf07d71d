"""The space of a search: Hydra's grammar translated to Optuna's distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep


def import_optuna() -> Any:
    """The module optuna. Raises ValueError where it is not installed, with the command that installs it."""
    try:
        import optuna
    except ImportError as error:
        raise ValueError('hydra/sweeper=optuna is not installed: pip install "hydra-gan-lab[sweep]"') from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def space(words: Sequence[Override]) -> dict[str, Any]:
    """Optuna's distributions by the keys that are swept. Raises ValueError where there is nothing to search."""
    distributions = {word.get_key_element(): distribution(word) for word in words if word.is_sweep_override()}
    if not distributions:
        raise ValueError(
            "hydra/sweeper=optuna searches nothing: give spaces, as in loss=hinge,minimax "
            "'optimizer.generator.learning_rate=tag(log,interval(1e-5,1e-2))' 'generator.width=int(interval(16,128))'"
        )
    return distributions


def distribution(word: Override) -> Any:
    """Hydra's choice, range or interval as Optuna's, with the tags log and int."""
    d = import_optuna().distributions
    value: Any = word.value()
    tags = set(getattr(value, "tags", None) or ())
    if strange := tags - {"log", "int"}:
        raise ValueError(f"{word.input_line}: the tags are log and int, not {', '.join(sorted(strange))}")
    try:
        if isinstance(value, IntervalSweep):
            low, high = value.start or 0, value.end or 0
            if "int" in tags or (isinstance(low, int) and isinstance(high, int)):
                return d.IntDistribution(int(low), int(high), log="log" in tags)
            return d.FloatDistribution(float(low), float(high), log="log" in tags)
        if isinstance(value, RangeSweep):
            values = [float(v) for v in value.range()]
            whole = all(isinstance(v, int) for v in (value.start, value.stop, value.step))
            kind = d.IntDistribution if whole or "int" in tags else d.FloatDistribution
            cast = int if kind is d.IntDistribution else float
            return kind(cast(values[0]), cast(values[-1]), step=cast(value.step))
    except (ValueError, IndexError) as error:
        raise ValueError(f"{word.input_line}: {error or 'an empty space'}") from error
    return d.CategoricalDistribution(list(word.sweep_string_iterator()))


def points(key: str, distribution: Any) -> list[Any]:
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    if distribution.step is None or distribution.log:
        raise ValueError(f"{key}: the grid sampler takes choices and ranges, no interval")
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + i * distribution.step for i in range(count)]
