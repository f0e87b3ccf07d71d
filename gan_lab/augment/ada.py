"""Adaptive discriminator augmentation: as much of it as the discriminator's certainty about real pictures asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gan_lab.augment.warp import blitted, rotation, scaling, translation, warped
from gan_lab.core.forward_pass import ForwardPass
from gan_lab.core.hooks import Hook
from gan_lab.core.loop import Game
from gan_lab.core.runtime import full_precision
from gan_lab.core.types import Phase
from gan_lab.layers import ImageSize
from gan_lab.registry import Positive, Share, augmentations

# What each part of the policy does, in order, each with probability p for every picture by itself.
BLIT = ("mirror", "turn", "shift")
GEOMETRY = ("scale", "first rotation", "stretch", "second rotation", "drift")
COLOR = ("brightness", "contrast", "inversion", "hue", "saturation")
UNIFORMS, NORMALS = (4, 2, 2), (0, 4, 3)  # numbers that the three parts draw besides: uniform and normal ones
EVERY = 4  # steps between changes of p
Draws = tuple[Tensor, Tensor, Tensor]  # of a part: which operations to do, bool [B, operations]; uniform, normal [B, n]


# -- matrices of draws -------------------------------------------------------------------------------------------------
# Karras et al. 2020, arXiv 2006.06676, appendix B. Each takes a part's draws.


def blit_matrix(chosen: Tensor, uniform: Tensor, normal: Tensor, height: int, width: int) -> Tensor:
    """The inverse [B, 3, 3] of a mirroring, a turn by quarters and a shift by up to an eighth, in whole pixels."""
    mirror, turn, shift = (chosen * 1.0).unbind(1)
    sign = 1 - 2 * (uniform[:, 0] * 2).floor() * mirror
    angle = math.pi / 2 * (uniform[:, 1] * 4).floor() * turn
    x, y = ((size * (u * 2 - 1) / 8).round() * shift for u, size in ((uniform[:, 2], width), (uniform[:, 3], height)))
    return scaling(sign, torch.ones_like(sign)) @ rotation(angle) @ translation(-x, -y)


def geometry_matrix(chosen: Tensor, uniform: Tensor, normal: Tensor, height: int, width: int) -> Tensor:
    """The inverse [B, 3, 3] of a scaling, a rotation, a stretching, another rotation and a shift."""
    scale, first, stretch, second, drift = (chosen * 1.0).unbind(1)
    size, ratio = (torch.exp2(0.2 * normal[:, i] * on) for i, on in ((0, scale), (1, stretch)))
    before, after = (math.pi * (2 * uniform[:, i] - 1) * on for i, on in ((0, first), (1, second)))
    x, y = (0.125 * side * normal[:, i] * drift for i, side in ((2, width), (3, height)))
    return (
        scaling(1 / size, 1 / size)
        @ rotation(before)
        @ scaling(1 / ratio, ratio)
        @ rotation(after)
        @ translation(-x, -y)
    )


def color_matrix(chosen: Tensor, uniform: Tensor, normal: Tensor, channels: int) -> Tensor:
    """A change of colours [B, C, C + 1], the last column added: brightness, contrast, inversion, hue, saturation.

    Inversion mirrors the brightness, hue turns colours about the grey axis and saturation scales them towards it. For
    one channel only the first three mean something, and without three there is no hue.
    """
    brightness, contrast, inversion, hue, saturation = (chosen * 1.0)[:, :, None, None].unbind(1)
    same = torch.eye(channels, device=chosen.device)
    grey = torch.full((channels, channels), 1 / channels, device=chosen.device)  # v v^T of the grey axis v
    added = (0.2 * normal[:, 0, None, None] * brightness).expand(-1, channels, 1)
    factor = torch.exp2(0.5 * normal[:, 1, None, None] * contrast)
    inverted = same - 2 * grey * (uniform[:, 0, None, None] * 2).floor() * inversion
    times = torch.exp2(normal[:, 2, None, None] * saturation)
    turned = _about_grey(math.pi * (2 * uniform[:, 1, None, None] - 1) * hue) if channels == 3 else same
    colors = (grey + (same - grey) * times) @ turned @ (inverted * factor)
    return torch.cat([colors, colors @ added], dim=2)


def _about_grey(angle: Tensor) -> Tensor:
    """Rotations [B, 3, 3] of colours about the grey axis by angles [B, 1, 1] (Rodrigues' formula)."""
    axis = 3**-0.5
    cross = axis * torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=angle.device)
    grey = torch.full((3, 3), 1 / 3, device=angle.device)
    return angle.cos() * (torch.eye(3, device=angle.device) - grey) + angle.sin() * cross + grey


# -- the augmentation --------------------------------------------------------------------------------------------------


@augmentations.register("ada")
class ADA(nn.Module, Hook):
    """Adaptive augmentation of images [B, C, H, W] (Karras et al. 2020, arXiv 2006.06676, sections 2 and 3).

    The policy's parts are applied in order, each operation with probability p, with separate draws for real and fake
    images: blit (mirroring, quarter turns, whole shifts), geometry (scaling, rotations, stretching, shifts), color
    (brightness, contrast, inversion, hue, saturation). At p = 0 images stay as they are, bit for bit.

    p begins at 0. Every four steps it moves by the images shown, over `images`: up where the mean sign of D's logits
    of real images, counted from the loss's boundary, is above `target`, down where it is below, within 0 and `p`.
    Where the loss has no boundary (relativistic, wasserstein), D's mean logit of fake images stands in for it. With
    `target=null`, p rises with the images shown to `p` and stays, whatever D says. p is saved in checkpoints.
    Raises ValueError where the policy is empty.
    """

    p: Tensor  # the probability now
    seen: Tensor  # since p last moved: sum of mean signs, steps

    def __init__(
        self,
        image_size: ImageSize,
        *,
        policy: tuple[Literal["blit", "geometry", "color"], ...] = ("blit", "geometry", "color"),
        target: Share | None = 0.6,
        images: Positive = 500_000,
        p: Share = 1.0,
    ) -> None:
        super().__init__()
        if not policy:
            raise ValueError("augment.policy=[]: it names nothing; choose augment=none to augment nothing")
        self.policy, self.target, self.images, self.most = policy, target, images, p
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, forward: ForwardPass, images: Tensor, stream: str) -> Tensor:
        operations = (*BLIT, *GEOMETRY, *COLOR)
        uniform = forward.draw(f"ada/{stream}", len(operations) + sum(UNIFORMS), kind="uniform")
        normal = forward.draw(f"ada/{stream}/normal", sum(NORMALS))
        # Two rotations: each with a probability that makes p that of at least one.
        rotated = 1 - (1 - self.p).sqrt()
        thresholds = torch.stack([rotated if "rotation" in name else self.p for name in operations])
        gates = (uniform[:, : len(operations)] < thresholds).split([len(BLIT), len(GEOMETRY), len(COLOR)], dim=1)
        others, normals = uniform[:, len(operations) :].split(UNIFORMS, 1), normal.split(NORMALS, 1)
        blit, geometry, color = zip(gates, others, normals, strict=True)
        with full_precision(images.device.type):
            return self.applied(images, blit, geometry, color)

    def applied(self, images: Tensor, blit: Draws, geometry: Draws, color: Draws) -> Tensor:
        """Images changed by each part's draws, where the policy has it: what to do, uniform and normal numbers."""
        height, width = images.shape[2:]
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        result, inverse = images, torch.eye(3, device=images.device).expand(len(images), 3, 3)
        if "blit" in self.policy:
            inverse = blit_matrix(*blit, height, width)
            result = torch.where(_any(blit), blitted(images, inverse), result)
        if "geometry" in self.policy:  # in one move with the first part: edges are reflected once, at the picture's own
            inverse = (inverse @ geometry_matrix(*geometry, height, width)).to(images.dtype)
            result = torch.where(_any(geometry), warped(images, inverse), result)
        if "color" in self.policy:
            matrix = color_matrix(*color, images.shape[1]).to(images.dtype)
            changed = (matrix[:, :, :-1] @ result.flatten(2) + matrix[:, :, -1:]).view_as(result)
            result = torch.where(_any(color), changed, result)
        return result

    @torch.no_grad()
    def after_play(self, game: Game, phase: Phase, values: Mapping[str, Sequence[Tensor]]) -> None:
        """Move p after a step of a discriminator that has judged real images. The host waits for no value."""
        if phase.player != "discriminator" or "real_logits" not in values:
            return
        if self.target is None:
            self.p.fill_(self.most * min(game.images / self.images, 1.0))
            return
        boundary = getattr(game.task, "boundary", None)
        if boundary is None:
            boundary = torch.cat([logits.flatten() for logits in values["fake_logits"]]).float().mean()
        above = torch.cat([logits.flatten() for logits in values["real_logits"]]).float() - boundary
        sign = above.sign().nan_to_num(0.0).mean()
        game.runtime.average([sign])
        used = 1 - values["skipped"][0]
        self.seen += torch.stack([sign * used, used])
        due = self.seen[1] >= EVERY
        mean = self.seen[0] / self.seen[1].clamp(min=1)
        move = (mean - self.target).sign() * (self.seen[1] * game.batch_size / self.images)
        self.p.copy_(torch.where(due, self.p + move, self.p).clamp(0, self.most))
        self.seen *= ~due


def _any(draws: Draws) -> Tensor:
    """Whether anything is done to each picture, [B, 1, 1, 1]."""
    return draws[0].any(1)[:, None, None, None]
