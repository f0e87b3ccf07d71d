"""A head by computed tomography, in Hounsfield units: real data that Debian packs."""

from __future__ import annotations

import plistlib
import tarfile
from pathlib import Path
from typing import IO

import numpy as np

from gan_lab.datasets.medical import MOST, Volume
from gan_lab.datasets.slices import Axis, Case, Slices, View
from gan_lab.datasets.sources import DAMAGED, one_line
from gan_lab.datasets.store import height_width
from gan_lab.registry import Positive, datasets

FILE = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")


@datasets.register("head_ct")
class HeadCT(Slices):
    """Slices of the head "Cranium" of Debian's invesalius-examples: 108 of 256 x 256 px, 0.957 mm wide, 1.5 mm apart.

    float32 by `window`, in Hounsfield units: what -1 and 1 stand for; values outside are clipped. `spacing` mm a pixel
    (null: 0.957); the default halves the size. Blocks of `block` slices are tested, one of five. See `slices.Slices`.
    Raises ValueError where the package is not installed.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        axis: Axis = "axial",
        window: tuple[float, float] = (-1000.0, 2000.0),
        spacing: float | None = 1.9140625,
        image_size: Positive | tuple[Positive, Positive] = 128,
        block: Positive = 9,
    ) -> None:
        file = Path(path).expanduser() if path is not None else FILE
        if not file.is_file():
            raise ValueError(f"dataset=head_ct needs {file}: apt-get install invesalius-examples")
        view = View(height_width(image_size), window, axis, spacing)
        case = Case("head_ct", (file,), lambda: (read_invesalius(file), None))
        super().__init__("head_ct", {"train": [case]}, view, unit="HU", spacing=(0.957, 0.957), block=block)


def read_invesalius(file: Path) -> Volume:
    """The CT volume of an InVesalius project, a tar archive of a property list and raw int16 values.

    Raises ValueError for a file that is none, or not whole.
    """
    try:
        with tarfile.open(file) as archive:
            about = plistlib.loads(_member(archive, "main.plist", 1 << 20))["matrix"]
            shape = tuple(int(side) for side in about["shape"])
            size = int(np.prod(shape, dtype=object)) * 2
            if about["dtype"] != "int16" or len(shape) != 3 or not 0 < size <= 2 * MOST:
                raise OSError(f"it holds {about['dtype']} of {shape}, not a volume of int16")
            values = np.frombuffer(_member(archive, about["filename"], size), dtype="<i2").reshape(shape)
            across, down, apart = (
                float(mm) for mm in plistlib.loads(_member(archive, "main.plist", 1 << 20))["spacing"]
            )
    except (*DAMAGED, KeyError, TypeError, ValueError, plistlib.InvalidFileException) as error:
        raise ValueError(f"{file} is no whole InVesalius project ({one_line(error)}); install it again") from error
    return Volume(values[:, ::-1], (apart, down, across), "HU")


def _member(archive: tarfile.TarFile, name: str, most: int) -> bytes:
    """A file of the archive by its name, from any folder. Raises OSError where it is not there or has more bytes."""
    for member in archive:
        content: IO[bytes] | None = archive.extractfile(member) if Path(member.name).name == name else None
        if content is not None:
            found = content.read(most + 1)
            if len(found) > most:
                raise OSError(f"{name} has more than {most:,} bytes")
            return found
    raise OSError(f"it holds no {name}")
