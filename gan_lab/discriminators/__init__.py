"""Discriminators: `D(sample, label [B] | None) -> logits`, [B] or a map [B, ...], or a `DiscriminatorOutput`.

One architecture family a file; the registry imports every module here.
"""
