"""Tasks: the networks, players and phases of a kind of game. One task a file; the registry imports every module."""
