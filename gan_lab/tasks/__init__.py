"""Tasks: what is a move in this problem. One task a file; every module here is imported by the registry."""
