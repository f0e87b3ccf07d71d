"""mkdocs: pages that lie elsewhere in the repository, links as GitHub reads them, a reference of the registered parts.

Nothing is written twice: the README is the site's first page, and experiments/README.md its page of experiments.
"""

from __future__ import annotations

import inspect
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from gan_lab import registry

ROOT = Path(__file__).parent.parent
# file of the repository: page of the site
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "licence.md",
    "experiments/README.md": "experiments.md",
    "experiments/tuning.md": "tuning.md",
}
SOURCES = {page: source for source, page in ELSEWHERE.items()}
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that have no file in docs/."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    registry.load()
    for kind in registry.KINDS.values():
        files.append(File.generated(config, f"reference/{kind.kind}.md", content=parts(kind)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """A link to a file of the repository becomes one to its page."""
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")

    def moved(match: re.Match[str]) -> str:
        start, target, anchor = match[1], match[2], match[3] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        uri = ELSEWHERE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if uri is None:
            raise ValueError(f"{source} links to {target}, which is no page of the site")
        return f"{start}{posixpath.relpath(uri, posixpath.dirname(here) or '.')}{anchor})"

    if here.startswith("reference/"):
        return markdown
    return LINK.sub(moved, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Cells with much text get a class, by which they are wide and the table scrolls."""
    return re.sub(r"<td>(?=[^\n]{100})", '<td class="long">', html)


def parts(kind: registry.Registry) -> str:
    """A page with the registered parts of a kind under their names: signature and docstring, one for each class."""
    group = next(iter(kind.groups), None)
    use = f"Chosen by `{group}={'[NAME,...]' if kind.listed else 'NAME'}`" if group else "Named in `evaluation.metrics`"
    text = [f"# {kind.kind.replace('_', ' ').capitalize()}", f"{use}. A parameter with a default is a setting."]
    names: dict[Any, list[str]] = {}
    for name, part in kind.classes.items():
        if part.__module__.startswith("gan_lab."):
            names.setdefault((part.__module__, part.__qualname__), []).append(name)
    for (module, part), several in sorted(names.items(), key=lambda item: item[1]):
        name = ", ".join(several)
        if part in vars(sys.modules[module]):
            text.append(f"::: {module}.{part}\n    options: {{heading: '{name}', toc_label: '{name}'}}")
        else:  # made at run time, where the reader of sources does not see it
            text += [f"## {name}", inspect.getdoc(kind.classes[several[0]]) or ""]
    return "\n\n".join(text) + "\n"
