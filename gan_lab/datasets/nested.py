"""A data set that another one is made of, chosen by name."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from gan_lab import registry
from gan_lab.datasets.store import height_width


def labelled_pictures(name: str, path: str | None, image_size: Any, *, grey: bool = False) -> Any:
    """The data set of that name, of pictures with classes, perhaps only a grey one. `path` is its folder.

    Raises ValueError, which speaks of `dataset.source`, for a name that is none, for a folder where it reads none, and
    for other data.
    """
    group = "dataset.source"
    cls, _ = registry.datasets.arguments(OmegaConf.create({"name": name}), group)
    settings: dict[str, Any] = {"name": name, "image_size": list(height_width(image_size))}
    takes = {parameter for parameter, *_ in registry.parameters(cls)}
    if path is not None:
        if "path" not in takes:
            raise ValueError(f"dataset.path={path}: {group}={name} reads no folder; leave it null")
        settings["path"] = path
    if "class_folders" in takes:
        settings["class_folders"] = True
    source = registry.datasets.build(OmegaConf.create(settings), group) if "image_size" in takes else None
    shape: tuple[int, ...] = getattr(source, "sample_shape", ())
    if len(shape) != 3 or (grey and shape[0] != 1) or not getattr(source, "num_classes", None):
        what = "grey pictures" if grey else "pictures"
        raise ValueError(f"{group}={name}: give a data set of {what} with labels, such as mnist5k, fashion_mnist")
    return source
