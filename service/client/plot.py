"""A plot of a study, as the client hands it out: plotly's figure, a page, and a picture in a notebook."""

import html
import json
from collections.abc import Callable
from typing import Any

HEIGHT = 480  # pixels, in a notebook


class Plot:
    """A plot of a study's search.

    Attributes:
        name: The study's name and the plot's kind.
        json: Plotly's figure, as text.
    """

    def __init__(self, name: str, figure: str, page: Callable[[], str], png: Callable[[], bytes]) -> None:
        """Take the figure; `page` and `png` ask for it as a page that needs no network, and as a picture."""
        self.name = name
        self.json = figure
        self._page = page
        self._png = png

    @property
    def figure(self) -> dict[str, Any]:
        """Plotly's figure, for `plotly.graph_objects.Figure(plot.figure)`."""
        return dict(json.loads(self.json))

    def page(self) -> str:
        """Return a page of HTML that holds all it needs. Raises ServiceError."""
        return self._page()

    def png(self) -> bytes:
        """Return the plot as a picture. Raises ServiceError."""
        return self._png()

    def __repr__(self) -> str:
        """Return the plot's name, and how to see it."""
        return f"<Plot {self.name}: a notebook shows it; page() is HTML, png() a picture, figure is plotly's>"

    def _repr_html_(self) -> str:
        """Return the page as notebooks show it: in a frame whose scripts reach nothing of the notebook."""
        source, title = html.escape(self.page()), html.escape(self.name)
        style = f"width:100%;height:{HEIGHT}px;border:0"
        allowed = "allow-scripts allow-downloads"  # a drawn plot, and its button that saves it
        return f'<iframe srcdoc="{source}" sandbox="{allowed}" style="{style}" title="{title}"></iframe>'
