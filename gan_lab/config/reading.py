"""Reads YAML that may come from a stranger: plain data of a bounded size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lab.core.files import DEEPEST, BadFile, check_plain, read_text

LARGEST = 1 << 20  # bytes
MOST_VALUES = 100_000  # with aliases written out: some hundred bytes of aliases of aliases can be billions of values
FASTEST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises BadFile, in one line, for what is not plain data of a reasonable size."""
    text = read_text(path, LARGEST)
    try:
        if "*" in text:  # else nothing is written out, and the content is no larger than the text
            _check_size(yaml.compose(text, Loader=FASTEST), path)
        content = yaml.load(text, Loader=FASTEST)
    except RecursionError:
        raise BadFile(f"{path} is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, BadFile):
            raise
        raise BadFile(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return content


def _check_size(root: yaml.Node | None, path: Path) -> None:
    """Raise BadFile for too many values, too deep ones, and aliases in a loop."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        if depth > DEEPEST or id(node) in open_nodes:
            raise BadFile(f"{path} is nested too deeply")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            inner = node.value if isinstance(node, yaml.CollectionNode) else ()
            children = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in children)
            open_nodes.discard(id(node))
        if sizes[id(node)] > MOST_VALUES:
            raise BadFile(f"{path} holds more than {MOST_VALUES:,} values, counted with its aliases")
        return sizes[id(node)]

    if root is not None:
        size(root, 0)


def read_config(path: Path) -> DictConfig:
    """The config of a run. Raises BadFile where the file holds none."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BadFile(f"{path} holds no config")
    check_plain(content, path)
    try:
        config = OmegaConf.create(read_text(path, LARGEST))  # its YAML reads 1e-3 as a number
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise BadFile(f"{path} holds no config: {str(error).splitlines()[0]}") from error
    return check_config(config, path)


def check_config(config: Any, path: Path) -> DictConfig:
    """Raise BadFile unless it has the stable sections of a run's config."""
    if not isinstance(config, DictConfig):
        raise BadFile(f"{path} holds no config")
    for section in ("trainer", "evaluation", "tracking"):
        if not OmegaConf.is_dict(config.get(section)):
            raise BadFile(f"{path} has no section {section}: it is no run's config")
    return config
