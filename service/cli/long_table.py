"""Tables that may have very many rows: printed as rich prints them, without its work for each cell.

`output.table` makes them. For ten thousand rows rich takes five seconds.
"""

from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table

LONG = 200  # rows; rich prints shorter tables
BETWEEN = "   "  # columns: the margin of a cell, the empty line of the box, the margin of the next cell


class LongTable(Table):
    """A table of texts without control characters but tabs and newlines.

    Where it is long and no line has to be folded, it prints its rows itself, as rich would.
    """

    def __init__(self, headings: Sequence[str], texts: Sequence[Sequence[str]], title: str | None) -> None:
        """Make the table.

        Args:
            headings: A column whose heading starts with `>` is aligned right.
            texts: As many in each row as there are columns.
            title: A line above the table.
        """
        super().__init__(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in headings:
            self.add_column(heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left")
        self._texts = texts
        self._is_filled = len(texts) <= LONG
        if self._is_filled:
            self._fill()

    def _fill(self) -> None:
        self._is_filled = True
        for row in self._texts:
            self.add_row(*row)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print the table: the head and the foot as rich does, between them the rows as plain lines."""
        if not self._is_filled:
            widths = self._widths()
            is_folded = any("\n" in text or "\t" in text for row in self._texts for text in row)
            if not is_folded and 2 + sum(widths) + len(BETWEEN) * (len(widths) - 1) <= options.max_width:
                yield from self._lines(console, options, widths)
                return
            self._fill()
        yield from super().__rich_console__(console, options)

    def _widths(self) -> list[int]:
        """Return the width of each column, in cells of a terminal."""
        columns = zip(self.columns, zip(*self._texts, strict=True), strict=True)
        return [max(_width(str(column.header)), *map(_width, texts)) for column, texts in columns]

    def _lines(self, console: Console, options: ConsoleOptions, widths: Sequence[int]) -> Iterable[Segment]:
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
        without_rows = Segment.split_lines(super().__rich_console__(console, options))  # type: ignore[arg-type]
        head = list(without_rows)
        for line in head[:-1]:
            yield from line
            yield Segment.line()
        right = [column.justify == "right" for column in self.columns]
        for row in self._texts:
            yield Segment(f" {BETWEEN.join(map(_padded, row, widths, right))} \n")
        yield from head[-1]
        yield Segment.line()


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _padded(text: str, width: int, right: bool) -> str:
    """Return a text filled with spaces to so many cells of a terminal."""
    if right:
        text = text.rstrip()  # as rich does
    width += len(text) - _width(text)
    return text.rjust(width) if right else text.ljust(width)
