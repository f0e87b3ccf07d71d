"""Inpainting: pictures with a hole."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from gan_lab.degradations import Degradation, Draw
from gan_lab.registry import Bounds, degradations

CHOICES, BRUSHES, LENGTHS = "degradation/choices", "degradation/brushes", "degradation/lengths"
STROKES = 3  # at most
SEGMENTS = 11  # of a stroke at most
FEWEST_SEGMENTS = 4
ANGLE, SPREAD = 2 * math.pi / 5, 2 * math.pi / 15  # of a segment against the width: the mean, and how far it varies
LENGTH = 1 / 8  # of a segment: the mean, as a share of the diagonal
WIDTHS = (12 / 256, 40 / 256)  # of a brush, as a share of the shorter side


@degradations.register("inpainting")
class Inpainting(Degradation):
    """The source is the target with its hole at 0, and a last channel, the mask: 1 in the hole, 0 outside.

    `hole` "centre" is a rectangle of `share` of the height and of the width; "free_form" is random brush strokes (Yu
    et al. 2019, arXiv 1806.03589, algorithm 1), which `share` does not change. The trivial solution is biharmonic
    filling, one picture at a time on the CPU. Outputs keep the known pixels. Raises ValueError where a centre hole
    would be nothing or all of a picture.
    """

    bar = "biharmonic"
    streams = (CHOICES, BRUSHES, LENGTHS)

    def __init__(
        self,
        *,
        hole: Literal["centre", "free_form"] = "centre",
        share: Annotated[float, Bounds(0, 1, open=True)] = 0.5,
    ) -> None:
        self.hole, self.share = hole, share

    def input_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        channels, height, width = shape
        if self.hole == "centre":
            sides = [round(self.share * size) for size in (height, width)]
            if min(sides) < 1 or sides == [height, width]:
                what = "no hole" if min(sides) < 1 else "no known pixel"
                raise ValueError(
                    f"degradation.share={self.share:g} leaves {what} in pictures of {height} x {width}; "
                    "0.25 to 0.75 are usual"
                )
        return channels + 1, height, width

    def __call__(self, target: Tensor, draw: Draw) -> Tensor:
        count, _, height, width = target.shape
        if self.hole == "centre":
            hole = centre(height, width, self.share, target.device).expand(count, -1, -1, -1)
        else:
            hole = free_form(
                height,
                width,
                draw(CHOICES, 3, kind="uniform"),
                draw(BRUSHES, STROKES, 6 + SEGMENTS, kind="uniform"),
                draw(LENGTHS, STROKES, SEGMENTS),
            )
        return with_hole(target, hole)

    def solve(self, source: Tensor) -> Tensor:
        """Raises ValueError where scikit-image is missing."""
        return biharmonic(source[:, :-1], self.mask_of(source))

    def mask_of(self, source: Tensor) -> Tensor:
        """Whether each pixel of a source [B, C + 1, H, W] is in the hole: bool [B, 1, H, W]."""
        return source[:, -1:] > 0.5

    def finish(self, output: Tensor, source: Tensor) -> Tensor:
        """The output in the hole, the known pixels elsewhere."""
        return torch.where(self.mask_of(source), output, source[:, :-1])

    def source_of(self, picture: Tensor, alpha: Tensor | None = None) -> Tensor:
        """A user's picture whose hole is what is more transparent than opaque."""
        hole = alpha < 0.5 if alpha is not None else None
        if hole is None or not hole.any():
            raise ValueError(
                "the picture has no transparent pixels: save it as a PNG with an alpha channel, and make what is to "
                "be filled in transparent"
            )
        if hole.all():
            raise ValueError("the picture is all transparent: leave the pixels that are known opaque")
        return with_hole(picture, hole)


def with_hole(pictures: Tensor, hole: Tensor) -> Tensor:
    """Pictures [B, C, H, W] at 0 in a hole, bool [B, 1, H, W], and the hole as one more channel."""
    return torch.cat([pictures.masked_fill(hole, 0), hole.to(pictures.dtype)], 1)


def centre(height: int, width: int, share: float, device: torch.device) -> Tensor:
    """A rectangle in the middle, bool [1, 1, H, W], of `share` of the height and of the width."""
    rows, columns = round(share * height), round(share * width)
    top, left = (height - rows) // 2, (width - columns) // 2
    hole = torch.zeros(1, 1, height, width, dtype=torch.bool, device=device)
    hole[..., top : top + rows, left : left + columns] = True
    return hole


# -- free-form holes ---------------------------------------------------------------------------------------------------


def free_form(height: int, width: int, choices: Tensor, brushes: Tensor, lengths: Tensor) -> Tensor:
    """Brush strokes, bool [B, 1, H, W] (Yu et al. 2019, arXiv 1806.03589, algorithm 1), of random numbers:

    `choices` [B, 3] uniform, `brushes` [B, STROKES, 6 + SEGMENTS] uniform, `lengths` [B, STROKES, SEGMENTS] normal.
    The paper gives no constants; these are its authors' for 256 x 256, in proportion to the picture: 1 to 3 strokes
    of 4 to 11 segments.
    """
    corners = _corners(height, width, choices, brushes, lengths)
    low, high = (share * min(height, width) for share in WIDTHS)
    radius = (low + (high - low) * brushes[..., 5]) / 2
    drawn = torch.arange(STROKES, device=choices.device) <= (choices[:, :1] * STROKES).floor()
    return _covered(corners, radius * drawn, height, width)


def _corners(height: int, width: int, choices: Tensor, brushes: Tensor, lengths: Tensor) -> Tensor:
    """The corners (x, y) of each stroke, whole pixels [B, STROKES, SEGMENTS + 1, 2]. Unused segments have no length."""
    first, last = ANGLE - SPREAD * brushes[..., 1, None], ANGLE + SPREAD * brushes[..., 2, None]
    angle = first + (last - first) * brushes[..., 6:]
    number = torch.arange(SEGMENTS, device=angle.device)
    count = FEWEST_SEGMENTS + (brushes[..., :1] * (SEGMENTS + 1 - FEWEST_SEGMENTS)).floor()
    mean = LENGTH * math.hypot(height, width)
    length = (mean + mean / 2 * lengths).clamp(0, 2 * mean) * (number < count)
    turn = 1 - 2 * (number % 2 == 0).to(angle.dtype)  # every other segment turns back, in the paper's "reverse mode"
    moves = torch.stack([length * angle.cos(), length * turn * angle.sin()], -1)
    size = torch.tensor([width, height], device=angle.device)
    # Whole pixels: whether a pixel is covered then does not hang on the last bit of a sine.
    places = [(brushes[..., 3:5] * size).floor()]
    for move in moves.unbind(2):
        places.append((places[-1] + move).clamp(min=0).minimum(size - 1).floor())
    corners = torch.stack(places, 2)
    mirrored = choices[:, None, None, 1:] < 0.5  # left to right, and top to bottom
    return torch.where(mirrored, size - 1 - corners, corners)


def _covered(corners: Tensor, radius: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie within a radius [B, S] of strokes with these corners, none for 0: bool [B, 1, H, W].

    A row meets a segment's surroundings in one interval. Rows count where intervals begin and end, which is far
    fewer numbers than all pixels' distances to all segments.
    """
    first, after = (line.flatten(1, 2).transpose(1, 2) for line in _intervals(corners, radius, height, width))
    changes = torch.zeros(len(corners), height, width + 1, dtype=torch.int32, device=corners.device)
    one = torch.ones_like(first, dtype=changes.dtype)
    changes.scatter_add_(2, first, one).scatter_add_(2, after, -one)
    return (changes.cumsum(2)[..., :width] > 0)[:, None]


def _intervals(corners: Tensor, radius: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The first pixel of each row within the radius of each segment, and the first one after: int64 [B, S, E, H].

    The discs around a + t (u, v) reach furthest to the right where t (v v) = v q + r |v| u / |(u, v)|, q the row less
    a's; to the left with -u. It is clipped to [0, 1], a segment's ends.
    """
    (a, b), (u, v) = (points[..., None].unbind(3) for points in (corners[:, :, :-1], corners.diff(dim=2)))
    r = radius[:, :, None, None]
    q = torch.arange(height, device=corners.device) - b
    lean = r * u * v.sign() / torch.hypot(u, v).clamp(min=1)
    edges, met = [], r > 0
    for side in (-1, 1):
        t = torch.where(v == 0, (side * u > 0).to(q.dtype), (q + side * lean) / v).clamp(0, 1)
        left = r * r - (q - t * v).square()
        edges.append(a + t * u + side * left.clamp(min=0).sqrt())
        met = met & (left >= 0)
    first, after = (
        torch.where(met, line, width).clamp(0, width).long() for line in (edges[0].ceil(), edges[1].floor() + 1)
    )
    return first, after


# -- the trivial solution ----------------------------------------------------------------------------------------------


def biharmonic(pictures: Tensor, hole: Tensor) -> Tensor:
    """Pictures [B, C, H, W] with their hole, bool [B, 1, H, W], filled by the biharmonic equation (Damelin and Hoang
    2018, doi 10.1155/2018/3950312), as in scikit-image. A picture without a known pixel stays as it is.
    """
    fill = _scikit_image().inpaint_biharmonic
    filled = pictures.clone()
    for i, mask in enumerate(hole[:, 0].cpu().numpy()):
        if mask.any() and not mask.all():
            picture = pictures[i].permute(1, 2, 0).double().cpu().numpy()
            filled[i] = torch.from_numpy(fill(picture, mask, channel_axis=-1)).permute(2, 0, 1)
    return filled


def _scikit_image() -> Any:
    try:
        from skimage import restoration
    except ImportError as error:
        raise ValueError(
            "degradation=inpainting is compared with biharmonic filling, which needs scikit-image: "
            'pip install "hydra-gan-lab[images]"'
        ) from error
    return restoration
