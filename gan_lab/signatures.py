"""A class's signature is its schema: builds a typed node for Hydra from it, and checks values against it."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import enum
import functools
import inspect
import math
import sys
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

T = TypeVar("T")
HOME = "gan_lab.registry"  # the module in which pickle looks the nodes up


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The range of a number, for `Annotated`: `width: Annotated[int, Bounds(1)] = 64`."""

    least: float = -math.inf
    most: float = math.inf
    open: bool = False  # whether `least` itself is excluded

    def __contains__(self, value: float) -> bool:
        inside = (value > self.least if self.open else value >= self.least) and value <= self.most
        return inside and math.isfinite(value)

    def __str__(self) -> str:
        low = f"{'more than' if self.open else 'at least'} {self.least:g}"
        if self.most == math.inf:
            return low
        return f"{low} and at most {self.most:,}" if isinstance(self.most, int) else f"{low} and at most {self.most:g}"


MOST = 1 << 53  # whole numbers up to it are exact in JSON and in every sum
Positive = Annotated[int, Bounds(1, MOST)]
NonNegative = Annotated[int, Bounds(0, MOST)]
Depth = Annotated[int, Bounds(1, 1_000)]  # of layers or blocks
Rate = Annotated[float, Bounds(0, open=True)]
Weight = Annotated[float, Bounds(0)]
Share = Annotated[float, Bounds(0, 1)]

SIMPLE = (int, float, bool, str, bytes)
nodes: dict[str, type] = {}  # a node's class name -> the node


def unknown(what: str, name: object, choices: Iterable[str]) -> ValueError:
    """The error for a choice that does not exist: the nearest ones first, then all."""
    return ValueError(f"{what}={name}: there is no such choice. {nearest(name, choices)}")


def unknown_key(where: str, name: str, keys: Iterable[str]) -> ValueError:
    """The error for a key that a part or a section does not have."""
    return ValueError(f"{where or 'the config'} has no key {name}. {nearest(name, keys)}")


def nearest(name: object, choices: Iterable[str]) -> str:
    names = sorted(choices)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}Choose from: {', '.join(names) or '(nothing)'}"


# -- signatures as schemas ---------------------------------------------------------------------------------------------


@functools.cache
def parameters(cls: Callable[..., Any]) -> tuple[tuple[str, Any, Any], ...]:
    """(name, annotation, default) of each parameter with a default. Other annotations are not evaluated."""
    # Annotations are evaluated in the module that defines __init__, which may be inherited; object's has no module.
    home = getattr(cls.__init__, "__module__", cls.__module__) if inspect.isclass(cls) else cls.__module__
    scope = vars(sys.modules[home])
    result = []
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.default is not parameter.empty:
            hint = Any if parameter.annotation is parameter.empty else parameter.annotation
            # With `from __future__ import annotations`, an annotation is a string of the author's own source.
            hint = eval(hint, dict(scope)) if isinstance(hint, str) else hint
            result.append((parameter.name, hint, parameter.default))
    return tuple(result)


def supplied(cls: Callable[..., Any]) -> list[str]:
    """Names of the parameters without a default."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    signature = inspect.signature(cls).parameters.values()
    return [p.name for p in signature if p.default is p.empty and p.kind not in kinds]


def schema(cls: Callable[..., Any], title: str, **extra: str) -> type:
    """A dataclass that OmegaConf accepts, with a field for each parameter that has a default."""
    if title not in nodes:
        fields: list[Any] = [(name, str, dataclasses.field(default=value)) for name, value in extra.items()]
        for name, hint, default in parameters(cls):
            kind = _widen(hint, f"{title}__{name}")
            if dataclasses.is_dataclass(default):
                fields.append((name, kind, dataclasses.field(default_factory=kind)))
            elif isinstance(default, (list, dict)):
                fields.append(
                    (name, kind, dataclasses.field(default_factory=functools.partial(copy.deepcopy, default)))
                )
            else:
                default = kind[default] if inspect.isclass(kind) and issubclass(kind, enum.Enum) else default
                fields.append((name, kind, dataclasses.field(default=default)))
        node = dataclasses.make_dataclass(title, fields)
        node.__module__, node.__doc__ = HOME, cls.__doc__  # picklable: see `registry.__getattr__`
        nodes[title] = node
    return nodes[title]


def _widen(hint: Any, title: str) -> Any:
    """The nearest type that OmegaConf accepts; `_restore` undoes it."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _widen(args[0], title)
    if origin is Literal and all(isinstance(choice, str) for choice in args):
        if title not in nodes:  # with an enum, a wrong choice fails at composition, with the choices in the message
            choice = enum.Enum(title, {name: name for name in args}, module=HOME)  # type: ignore[misc]
            nodes[title] = choice
        return nodes[title]
    if origin in (Union, types.UnionType):
        rest = [_widen(arg, title) for arg in args if arg is not type(None)]
        inner = rest[0] if len(rest) == 1 else Union[tuple(rest)] if all(r in SIMPLE for r in rest) else Any  # noqa: UP007
        return inner | None if type(None) in args and inner is not Any else inner
    if origin in (tuple, list, dict):
        return origin[tuple(arg if arg is ... else _widen(arg, title) for arg in args)]
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return schema(hint, title)
    known = hint in (*SIMPLE, tuple, list, dict) or (inspect.isclass(hint) and issubclass(hint, enum.Enum))
    return hint if known else Any


def _restore(value: Any, hint: Any, where: str) -> Any:
    """The value with the type of the annotation. Raises ValueError for a value that the annotation does not allow."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _restore_annotated(value, args, where)
    if origin in (Union, types.UnionType):
        return _restore_union(value, args, where)
    if origin is Literal:
        value = value.value if isinstance(value, enum.Enum) else value
        if value not in args:
            raise unknown(where, value, map(str, args))
        return value
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return hint(**{name: _restore(getattr(value, name), h, f"{where}.{name}") for name, h, _ in parameters(hint)})
    if tuple in (origin, hint):
        return _restore_tuple(value, args, where)
    if origin is list and isinstance(value, list):
        return [_restore(inner, args[0], f"{where}[{i}]") for i, inner in enumerate(value)]
    if hint in SIMPLE and not _is(value, hint):
        raise ValueError(f"{where}={value}: expected {_spell(hint)}")
    return float(value) if hint is float else value


def _restore_annotated(value: Any, args: tuple[Any, ...], where: str) -> Any:
    value = _restore(value, args[0], where)
    for bounds in args[1:]:
        if isinstance(bounds, Bounds) and value is not None and value not in bounds:
            raise ValueError(f"{where}={value}: it must be {bounds}")
    return value


def _restore_union(value: Any, args: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in args:
        return None
    reasons = []
    for arg in args:
        base = get_args(arg)[0] if get_origin(arg) is Annotated else arg
        wants = tuple if tuple in (get_origin(base), base) else base
        fits = isinstance(value, (list, tuple)) if wants is tuple else wants not in SIMPLE or _is(value, wants)
        if arg is not type(None) and fits:
            try:
                return _restore(value, arg, where)
            except ValueError as error:
                reasons.append(error)
    raise reasons[0] if reasons else ValueError(f"{where}={value}: expected {' or '.join(map(_spell, args))}")


def _is(value: Any, kind: Any) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _spell(hint: Any) -> str:
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return "null" if hint is type(None) else getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)


def _restore_tuple(value: Any, args: tuple[Any, ...], where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}={value}: expected a list")
    if not args:
        return tuple(value)
    hints = [args[0]] * len(value) if args[-1] is ... else args
    if len(hints) != len(value):
        raise ValueError(f"{where}={list(value)}: expected {len(hints)} values, not {len(value)}")
    return tuple(_restore(v, hint, f"{where}[{i}]") for i, (v, hint) in enumerate(zip(value, hints, strict=True)))


@functools.cache
def _defaults(node: type) -> Any:
    """A node's defaults as a config, which is to be copied: making one takes longer than all checks of its values."""
    from omegaconf import OmegaConf

    return OmegaConf.structured(node)


def checked_arguments(cls: Callable[..., Any], node: type, config: Any, where: str) -> dict[str, Any]:
    """A config's values, checked and converted to the annotated types, also where they were read from a YAML file."""
    from omegaconf import OmegaConf, SCMode
    from omegaconf.errors import OmegaConfBaseException

    if not OmegaConf.is_dict(config):
        raise ValueError(f"{where}={config}: a value stands where a part belongs")
    fields = {field.name for field in dataclasses.fields(node)}
    for name in config:
        if name not in fields:
            raise unknown_key(where, name, fields - {"name"})
    for name, hint, _ in parameters(cls):
        if dataclasses.is_dataclass(hint) and name in config and not OmegaConf.is_dict(config[name]):
            raise ValueError(f"{where}.{name}={config[name]}: a value stands where a section belongs")
    try:
        typed = OmegaConf.merge(_defaults(node), config)  # of a copy
        values = OmegaConf.to_container(
            typed, resolve=True, throw_on_missing=True, structured_config_mode=SCMode.INSTANTIATE
        )
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}.{error.full_key}: {str(error.msg or error).splitlines()[0]}") from error
    return {name: _restore(getattr(values, name), hint, f"{where}.{name}") for name, hint, _ in parameters(cls)}


def read(section: type[T], config: Any, where: str) -> T:
    """A dataclass of the stable sections (trainer, evaluation, tracking), read from its part of the config."""
    return section(**checked_arguments(section, schema(section, f"section__{section.__name__}"), config, where))
