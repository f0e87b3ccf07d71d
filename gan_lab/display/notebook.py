"""Progress in a notebook: one line that is replaced, without a widget."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

PAUSE = 0.25  # seconds between two updates


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this code."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


class NotebookBar:
    """A bar with a text beside it, in a notebook's output."""

    def __init__(self, total: float) -> None:
        from IPython.display import display

        self.total, self._shown = total, 0.0
        self._handle: Any = display(_Bar(0, total, ""), display_id=True)

    def update(self, done: float, text: str) -> None:
        """Show that so much is done. Between two updates there is a pause; the end is always shown."""
        now = time.monotonic()
        if done >= self.total or now - self._shown > PAUSE:
            self._shown = now
            self._handle.update(_Bar(done, self.total, text))


class _Bar:
    def __init__(self, done: float, total: float, text: str) -> None:
        self.done, self.total, self.text = done, total, text

    def __repr__(self) -> str:
        return f"{self.done:,.0f} of {self.total:,.0f}  {self.text}"

    def _repr_html_(self) -> str:
        return (
            f'<progress value="{self.done}" max="{self.total}"></progress> '
            f"{self.done:,.0f} of {self.total:,.0f} images  {html.escape(self.text)}"
        )
