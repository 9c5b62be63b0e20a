"""Hooks of MkDocs: files of the repository that pages link to become pages of the site, and links lead to them.

The pages of docs/ are read in the repository too, so their links lead to files: `../examples/quickstart.yaml`. MkDocs
knows only what lies in docs/. So each such file, and what it links to in turn, is added as `repository/PATH`:
Markdown as it is, other text as a block of code, a folder as a list of its files.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
ADDED = "repository"
LINK = re.compile(r"(?P<before>\]\()(?P<link>[^)\s]+)(?=\))")
BLOCK = re.compile(r"(^```.*?^```$)", flags=re.DOTALL | re.MULTILINE)
SOURCES: dict[str, Path] = {}  # a page's URI -> the file or folder that it comes from
LANGUAGES = {".py": "python", ".sh": "sh", ".yaml": "yaml", ".toml": "toml"}


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside of docs/ that pages link to, and those that these link to."""
    SOURCES.update({file.src_uri: DOCS / file.src_uri for file in files.documentation_pages()})
    waiting = [source for source in SOURCES.values() if source.is_file()]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        for target in _targets(source):
            if target in seen or target.is_relative_to(DOCS) or not target.is_relative_to(ROOT):
                continue
            seen.add(target)
            SOURCES[_uri(target)] = target
            files.append(File.generated(config, _uri(target), content=_content(target)))
            if target.is_dir() or target.suffix == ".md":
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Return a page whose links to files of the repository lead to their pages."""
    source, here = SOURCES[page.file.src_uri], Path(page.file.src_uri).parent

    def turned(match: re.Match[str]) -> str:
        name, mark, anchor = match["link"].partition("#")
        if not name or "://" in name or name.startswith("mailto:"):
            return match[0]
        target = (_folder(source) / name).resolve()
        link = os.path.relpath(_uri(target), here) if target.is_relative_to(ROOT) else name
        return f"{match['before']}{Path(link).as_posix()}{mark}{anchor}"

    parts = BLOCK.split(markdown)  # every second one is a block of code
    return "".join(part if i % 2 else LINK.sub(turned, part) for i, part in enumerate(parts))


def _targets(source: Path) -> Iterator[Path]:
    """Yield the files and folders of this machine that a page, or a folder's list, links to."""
    text = _content(source) if source.is_dir() else source.read_text(encoding="utf-8")
    for match in LINK.finditer(BLOCK.sub("", text)):
        name = match["link"].partition("#")[0]
        target = (_folder(source) / name).resolve()
        if name and "://" not in name and target.exists():
            yield target


def _folder(source: Path) -> Path:
    """Return the folder from which a source's links lead."""
    return source if source.is_dir() else source.parent


def _uri(target: Path) -> str:
    """Return where MkDocs finds a file of the repository: its path below docs/, or below `repository`."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    parts = [part.lstrip(".") for part in target.relative_to(ROOT).parts]  # MkDocs leaves hidden files out
    path = "/".join((ADDED, *parts))
    return f"{path}/index.md" if target.is_dir() else path if path.endswith(".md") else f"{path}.md"


def _content(target: Path) -> str:
    """Return the page of a file or a folder."""
    title = f"# {target.relative_to(ROOT)}\n\n"
    if target.is_dir():
        names = sorted(file.name for file in target.iterdir() if file.is_file() and not file.name.startswith("."))
        return title + "\n".join(f"- [{name}]({name})" for name in names) + "\n"
    text = target.read_text(encoding="utf-8")
    if target.suffix == ".md":
        return text
    return f"{title}````{LANGUAGES.get(target.suffix, 'text')}\n{text.rstrip()}\n````\n"
