"""DCGAN as a tutorial writes it: plain networks, plain Adam, one script. Also a program, for its memory."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn

LATENT_DIM = 100


def generator(image_size: int, channels: int, width: int) -> nn.Sequential:
    """[B, 100, 1, 1] to [B, C, H, W] in [-1, 1]; `width` channels at half the image size."""
    w = width * image_size // 8
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT_DIM, w, 4, 1, 0, bias=False), nn.BatchNorm2d(w), nn.ReLU(True)]
    while w > width:
        layers += [nn.ConvTranspose2d(w, w // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(w // 2), nn.ReLU(True)]
        w //= 2
    return nn.Sequential(*layers, nn.ConvTranspose2d(w, channels, 4, 2, 1, bias=False), nn.Tanh())


def discriminator(image_size: int, channels: int, width: int) -> nn.Sequential:
    """[B, C, H, W] to probabilities [B, 1, 1, 1] that the image is real."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    w = width
    for _ in range(image_size.bit_length() - 4):
        layers += [nn.Conv2d(w, w * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(w * 2), nn.LeakyReLU(0.2, inplace=True)]
        w *= 2
    return nn.Sequential(*layers, nn.Conv2d(w, 1, 4, 1, 0, bias=False), nn.Sigmoid())


class PlainLoop:
    """The usual DCGAN loop. `images` are float [N, C, H, W] on the networks' device, scaled beforehand.

    Loading is not what is compared.
    """

    noise_shape: tuple[int, ...] = (LATENT_DIM, 1, 1)  # of one latent
    noises = 2  # one for each of the two updates
    labelled = False

    def __init__(
        self,
        net_g: nn.Module,
        net_d: nn.Module,
        images: Tensor,
        batch_size: int = 64,
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
    ) -> None:
        self.net_g, self.net_d, self.images, self.batch_size = net_g, net_d, images, batch_size
        self.opt_g = torch.optim.Adam(net_g.parameters(), lr=learning_rate, betas=betas)
        self.opt_d = torch.optim.Adam(net_d.parameters(), lr=learning_rate, betas=betas)
        self.criterion = nn.BCELoss()

    def draw(self) -> tuple[Tensor, ...]:
        """A batch of images, and the step's noise."""
        device = self.images.device
        real = self.images[torch.randint(len(self.images), (self.batch_size,), device=device)]
        return real, *torch.randn(self.noises, self.batch_size, *self.noise_shape, device=device)

    def step(self, real: Tensor, *noise: Tensor) -> tuple[float, float]:
        """One update of D, then one of G; returns their losses."""
        d_noise, g_noise = noise
        ones, zeros = torch.ones(len(real), device=real.device), torch.zeros(len(real), device=real.device)

        self.net_d.zero_grad()
        fake = self.net_g(d_noise)
        real_loss = self.criterion(self.net_d(real).view(-1), ones)
        fake_loss = self.criterion(self.net_d(fake.detach()).view(-1), zeros)
        d_loss = (real_loss + fake_loss) / 2
        d_loss.backward()
        self.opt_d.step()

        self.net_g.zero_grad()
        g_loss = self.criterion(self.net_d(self.net_g(g_noise)).view(-1), ones)
        g_loss.backward()
        self.opt_g.step()
        return d_loss.item(), g_loss.item()


class ExampleLoop(PlainLoop):
    """PyTorch's examples/dcgan: D's loss is a sum with a backward pass for each half, and G trains on D's fakes."""

    noises = 1

    def step(self, real: Tensor, *noise: Tensor) -> tuple[float, float]:
        self.net_d.zero_grad()
        label = torch.full((len(real),), 1.0, device=real.device)
        real_loss = self.criterion(self.net_d(real).view(-1), label)
        real_loss.backward()
        fake = self.net_g(noise[0])
        label.fill_(0.0)
        fake_loss = self.criterion(self.net_d(fake.detach()).view(-1), label)
        fake_loss.backward()
        d_loss = real_loss + fake_loss
        self.opt_d.step()

        self.net_g.zero_grad()
        label.fill_(1.0)
        g_loss = self.criterion(self.net_d(fake).view(-1), label)
        g_loss.backward()
        self.opt_g.step()
        return d_loss.item(), g_loss.item()


def main() -> None:
    """Train on a .npy of uint8 [N, H, W, C], and say nothing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    for name in ("width", "steps", "batch-size", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pixels = torch.from_numpy(np.load(arguments.file))
    images = pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()
    shape = images.shape[2], images.shape[1], arguments.width
    loop = PlainLoop(generator(*shape), discriminator(*shape), images, arguments.batch_size)
    for _ in range(arguments.steps):
        loop.step(*loop.draw())


if __name__ == "__main__":
    main()
