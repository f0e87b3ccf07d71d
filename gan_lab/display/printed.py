"""Objects that look alike in a terminal, in `print` and in a notebook."""

from __future__ import annotations

import io

from rich.console import Console

from gan_lab.display.terminal import console

HTML = '<pre style="line-height: normal; overflow-x: auto">{code}</pre>'


class Printed:
    """What `print_to` prints is the object's text, and in a notebook its HTML."""

    def print_to(self, output: Console) -> None:
        """Print it, as the command line would."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self._printed().export_text().rstrip()

    def _repr_html_(self) -> str:
        return self._printed().export_html(inline_styles=True, code_format=HTML)

    def _printed(self) -> Console:
        output = console(width=10_000, file=io.StringIO(), record=True)
        self.print_to(output)
        return output
