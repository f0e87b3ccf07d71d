"""Augmentations of the discriminator's inputs, real and fake. They are differentiable, for the generator's gradient.

Called with a pass, images [B, C, H, W] and a stream's name, whose draws they take. The registry imports all modules.
"""
