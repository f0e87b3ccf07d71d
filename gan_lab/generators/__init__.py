"""Generators: `G(z [B, latent_dim], label [B] | None) -> sample`, images [B, C, H, W] in [-1, 1] or points [B, 2].

A generator has an attribute `latent_dim`. One architecture family a file; the registry imports every module here.
"""
