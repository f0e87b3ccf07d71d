"""One run: assembly and checks, training, health, checkpoints, scores, and the end."""
