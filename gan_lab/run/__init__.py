"""One run: its parts assembled and checked, trained, watched, saved, scored, and ended."""
