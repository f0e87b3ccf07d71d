"""Augmentations of the discriminator's inputs, real and fake. They are differentiable, for the generator's gradient.

Called with a pass, images [B, C, H, W] and a stream's name, whose draws they take. One that is a hook, too, is added to
the game: so `ada` learns what the discriminator says. The registry imports all modules.
"""
