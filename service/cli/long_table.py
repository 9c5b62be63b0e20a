"""Tables that may have very many rows, or too many columns for the terminal; and tables as plain lines.

`output.table` makes them. Long ones are printed as rich prints them, without its work for each cell: for ten thousand
rows that takes five seconds. Where the columns do not fit, the last ones of each row stand below it.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.segment import Segment
from rich.table import Table

LONG = 200  # rows; rich prints shorter tables
FOLDED = 30  # columns in which a text may be folded
BELOW = "     "  # before what stands below its row
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
            justify: JustifyMethod = "right" if heading.startswith(">") else "left"
            self.add_column(heading.removeprefix(">"), justify=justify, overflow="fold")  # else a long name is cut
        self._texts = texts
        self._is_filled = len(texts) <= LONG
        if self._is_filled:
            self._fill()

    def _fill(self) -> None:
        if not self._is_filled or not self.row_count:
            self._is_filled = True
            for row in self._texts:
                self.add_row(*row)

    @property
    def texts(self) -> Sequence[Sequence[str]]:
        """The cells of each row."""
        return self._texts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print the table: the head and the foot as rich does, between them the rows as plain lines."""
        if self._texts and (count := self._columns_beside(options.max_width)) < len(self.columns):
            yield from self._stacked(console, options, count)
            return
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

    def _columns_beside(self, width: int) -> int:
        """Return how many columns stand beside each other; all, where rich has to fold the last one only."""
        widths = self._widths()
        total = 2 - len(BETWEEN)
        for count, column in enumerate(widths):
            room = width - total - len(BETWEEN)
            is_last = count == len(widths) - 1
            if column > room and not (is_last and room >= FOLDED):
                return max(count, 1)
            total += len(BETWEEN) + column
        return len(widths)

    def _stacked(self, console: Console, options: ConsoleOptions, count: int) -> RenderResult:
        """Print the first `count` columns as a table, and the others of each row below it, with their headings."""
        headings = [str(column.header) for column in self.columns]
        signs = [">" if column.justify == "right" else "" for column in self.columns]
        first = [f"{sign}{heading}" for sign, heading in zip(signs[:count], headings[:count], strict=True)]
        beside = LongTable(first, [row[:count] for row in self._texts], str(self.title) if self.title else None)
        lines = list(Segment.split_lines(console.render(beside, options.update(height=None))))
        lines_of_head = (1 if self.title else 0) + 3
        if len(lines) != lines_of_head + len(self._texts) + 1:  # a cell is folded
            self._fill()
            yield from super().__rich_console__(console, options)
            return
        for number, line in enumerate(lines):
            yield from line
            yield Segment.line()
            row = number - lines_of_head
            if 0 <= row < len(self._texts):
                pairs = zip(headings[count:], self._texts[row][count:], strict=True)
                text = "; ".join(f"{heading} {value}".strip() for heading, value in pairs if value not in ("", "-"))
                for part in textwrap.wrap(text, options.max_width - len(BELOW)):
                    yield Segment(f"{BELOW}{part}")
                    yield Segment.line()

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


def plain_lines(table: Table) -> Iterator[str]:
    """Yield a table for a pipe: its title, headings and rows, each on one line, columns apart by two spaces or more."""
    if table.title:
        yield str(table.title)
    if isinstance(table, LongTable):
        rows = [[str(column.header) for column in table.columns], *table.texts]
    else:
        rows = [list(map(str, row)) for row in zip(*(column.cells for column in table.columns), strict=True)]
    rows = [[" ".join(text.split()) for text in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    right = [column.justify == "right" for column in table.columns]
    for row in rows:
        yield "  ".join(map(_padded, row, widths, right)).rstrip()
    yield ""
