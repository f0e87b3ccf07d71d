"""Blocks that two families share."""

from __future__ import annotations

ImageSize = int | tuple[int, int]


def pyramid(image_size: ImageSize, smallest: int = 4) -> tuple[tuple[int, int], int]:
    """((base height, base width), doublings): how strided layers reach an image size from a small base.

    The shorter side of the base lies in [smallest, 2 smallest): 28 is 7 x 2^2, 32 is 4 x 2^3, (32, 64) is (4, 8) x 2^3.
    Raises ValueError where no whole base and at least two doublings lead there, with sizes near it.

    >>> pyramid(64)
    ((4, 4), 4)
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    doublings = max((min(height, width) // smallest).bit_length() - 1, 0)
    scale = 2**doublings
    if doublings < 2 or height % scale or width % scale:
        near = [size for size in range(4 * smallest, 257) if size % 2 ** ((size // smallest).bit_length() - 1) == 0]
        near = sorted(sorted(near, key=lambda size: abs(size - min(height, width)))[:4])
        raise ValueError(
            f"image_size={image_size}: strided layers cannot make this size; near it are {', '.join(map(str, near))}"
        )
    return (height // scale, width // scale), doublings
