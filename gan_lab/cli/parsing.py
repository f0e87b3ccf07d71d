"""What the commands' parsers have in common."""

from __future__ import annotations

import argparse
from typing import NoReturn

CHECKPOINT = "newest; best by the scores seen while training; or a number of images (newest)"
DEVICE = "auto, cuda, mps or cpu (auto)"


class Parser(argparse.ArgumentParser):
    """An argument parser that reports wrong usage in one line, as all other errors are reported."""

    def add_loading(self) -> None:
        """The options of commands that load a run."""
        self.add_argument("--checkpoint", default="newest", metavar="WHICH", help=CHECKPOINT)
        self.add_argument("--device", default="auto", help=DEVICE)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog.removeprefix('gan-lab ')}: {message}; see {self.prog} --help")
