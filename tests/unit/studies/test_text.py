"""Text for people: errors on one line."""

from luthier.studies.text import one_line


def test_an_error_becomes_one_line_of_limited_length() -> None:
    assert one_line(ValueError("  a\n  b\tc ")) == "a b c"
    assert one_line("word " * 100) == ("word " * 100)[:300]
    assert one_line("word " * 100, 7) == "word wo"
    assert one_line("word " * 100, None) == ("word " * 100).strip()
