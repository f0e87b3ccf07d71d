"""The look of our pages, light and dark: a style sheet that the comparison and `gan-lab play` share."""

from pathlib import Path

STYLE = Path(__file__).parent / "style.css"
