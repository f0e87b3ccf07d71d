"""Random override lists, random damage to run directories, and random bytes for every reader."""
