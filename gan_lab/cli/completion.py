"""What a shell is told when Tab is pressed: verbs and kinds by us, the words of `train` by Hydra."""

from __future__ import annotations

import os
from collections.abc import Iterable

FLAGS = ("--shell-completion", "-sc")


def asked(words: list[str], commands: Iterable[str]) -> list[str] | None:
    """The words of `gan-lab train` that answer, or None where the answer is printed already.

    The shell has the line in COMP_LINE. Hydra knows one command without verbs, so it gets the line without `train`.
    """
    line = os.environ.get("COMP_LINE", "")
    before = line.split()
    if not any(word.startswith("query=") for word in words) or not before:
        return ["train", *words]
    program, verb, *arguments = [*before, ""] if len(before) == 1 else before
    if not arguments and not (line.endswith(" ") and verb):  # the verb itself
        print(*(name for name in commands if name.startswith(verb)), sep="\n")
        return None
    if verb == "train":
        os.environ["COMP_LINE"] = f"{program} {line.split(maxsplit=2)[2] if arguments else ''}"
        return ["train", *words]
    if verb == "list":
        from gan_lab.registry import KINDS

        start = arguments[0] if arguments else ""
        print(*(kind for kind in ("experiments", "searches", *KINDS) if kind.startswith(start)), sep="\n")
    return None  # the shell's own, names of files
