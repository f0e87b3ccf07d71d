"""The Markdown pages of the repository, and the code in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [path for folder in (ROOT, ROOT / "docs", ROOT / "experiments") for path in sorted(folder.glob("*.md"))]
PAGES += sorted((ROOT / "docs/reference").glob("*.md"))


def blocks(path: Path, *languages: str) -> list[str]:
    """A page's code blocks of these languages, "" for those without one."""
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```", path.read_text(), flags=re.S | re.M)
    return [content for name, content in fenced if name in languages]


def commands(block: str) -> list[str]:
    """A shell block's commands, without comments, with continued lines joined and its variables (`A="..."`) put in."""
    variable = re.compile(r'^([A-Z]+)="([^"]*)"\n', flags=re.M)
    values: dict[str, str] = {}
    found = []
    for line in variable.sub(_folded, block.replace("\\\n", " ")).splitlines():
        if assigned := variable.fullmatch(f"{line}\n"):
            values[assigned[1]] = assigned[2]
        elif command := re.sub(r"(^|\s)#.*", "", line).strip():
            found.append(re.sub(r"\$([A-Z]+)", lambda name: values[name[1]], command))
    return found


def _folded(assignment: re.Match[str]) -> str:
    return re.sub(r"\n\s*", " ", assignment[0].rstrip()) + "\n"
