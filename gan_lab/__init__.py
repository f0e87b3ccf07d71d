"""gan_lab: any generator against any discriminator under any loss. Importing it costs nothing; see the README."""

__version__ = "0.1.0"
