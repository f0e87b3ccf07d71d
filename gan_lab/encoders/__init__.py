"""Encoders: networks from pictures to maps of codes. One architecture family a file; the registry imports every module.

An encoder maps pictures [B, C, H, W] to [B, code_channels, h, w]. A task says `code_channels`, which its bottleneck
takes. Decoders are generators that take an `input_shape`.
"""
