"""Text for people: errors on one line, and URLs without what is secret in them."""

from luthier.studies.text import one_line, without_credentials


def test_an_error_becomes_one_line_of_limited_length() -> None:
    assert one_line(ValueError("  a\n  b\tc ")) == "a b c"
    assert one_line("word " * 100) == ("word " * 100)[:300]
    assert one_line("word " * 100, 7) == "word wo"
    assert one_line("word " * 100, None) == ("word " * 100).strip()


def test_a_url_is_told_without_user_and_password() -> None:
    for url, told in (
        ("http://user:pass@host:80/p?q#f", "http://host:80/p?q#f"),
        ("https://token@[::1]:8", "https://[::1]:8"),
        ("http://a@b:c@host", "http://host"),
        ("http://host/a@b", "http://host/a@b"),
        ("user:pass@[half", "[half"),
        ("", ""),
    ):
        assert without_credentials(url) == told
