"""Output for people: lines and tables in a terminal, and pictures."""
