"""Layers too large for layers.py that several families share. One a file."""
