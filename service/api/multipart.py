"""Uploads as forms (multipart/form-data): the file goes to the disk as it arrives, and is never held in memory.

Starlette's own form would spool the file to another folder first, without a limit of its own.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from luthier.service.errors import Invalid, TooLarge, Unsupported
from luthier.service.schemas import Fault
from luthier.service.storage.incoming import full, require_room
from luthier.studies.disk import is_full
from luthier.studies.files import HashingWriter
from luthier.studies.uploads import ALIASES, ARCHIVES, FORMATS, PACKED, kind_of_upload, stored_name

FORM = "multipart/form-data"
FORM_BYTES = 2**16  # that the form may have besides the file
NAME_CHARACTERS = 200
BUFFER_BYTES = 2**20
FIELDS = ("file", "name")


def accepted() -> str:
    """Return a sentence on the kinds of files that are taken as a data set."""
    tables = ", ".join((*FORMATS, *ALIASES))
    packed = ", ".join(f".{ending}" for ending in PACKED)
    return f"Tables: {tables} (also with {packed}); archives of folders and files: {', '.join(ARCHIVES)}."


@dataclass(frozen=True)
class Wanted:
    """What a form's file may be.

    Attributes:
        words: what such files are called.
        kind_of: the kind of a file by its name; None where it is none of those that are read.
        accepted: a sentence on the kinds.
        setting: the one that limits its bytes.
    """

    words: str
    kind_of: Callable[[str], str | None]
    accepted: str
    setting: str


DATA = Wanted("data sets", kind_of_upload, accepted(), "LUTHIER_DATASET_MAX_BYTES")


@dataclass
class Form:
    """A form while it arrives; `feed` may block, so it runs in a thread.

    Attributes:
        folder: where the file goes.
        limit: bytes that it may have.
        wanted: what it may be.
        kind: its kind, once its name is known.
        name: for people: that of the field `name`, else the file's own.
        writer: what was written so far.
    """

    folder: Path
    limit: int
    wanted: Wanted = DATA
    kind: str | None = None
    name: str = ""
    size: int = 0
    writer: HashingWriter | None = None
    ended: bool = False
    _file_name: str = ""
    _headers: dict[str, bytes] = field(default_factory=dict)
    _header: tuple[bytes, bytes] = (b"", b"")
    _field: str = ""
    _text: bytes = b""
    _file: BinaryIO | None = None

    def parser(self, boundary: bytes) -> MultipartParser:
        """Return a parser that calls this form's methods."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._add_header(data[start:end], b""),
                "on_header_value": lambda data, start, end: self._add_header(b"", data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": lambda data, start, end: self._write(data[start:end]),
                "on_part_end": self._close,
                "on_end": self._end,
            },
        )

    def close(self) -> None:
        """Close the file; what is half written is removed with its folder."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written was told already
                self._file.close()

    def _begin(self) -> None:
        self._headers, self._header, self._text = {}, (b"", b""), b""

    def _add_header(self, name: bytes, value: bytes) -> None:
        self._header = (self._header[0] + name, self._header[1] + value)
        if len(self._header[0]) + len(self._header[1]) > FORM_BYTES // 4:
            raise Invalid("A header in the form is too long.")

    def _end_header(self) -> None:
        self._headers[self._header[0].decode("latin-1").lower()] = self._header[1]
        self._header = (b"", b"")

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._field = _text(options.get(b"name", b""))
        if self._field not in FIELDS:
            raise _wrong("", f"the form has the fields {' and '.join(FIELDS)}, and none called {self._field[:50]!r}")
        if self._field == "name":
            return
        if self.writer is not None:
            raise _wrong("file", "the form has two files; send one, or an archive of several")
        self._file_name = _text(options.get(b"filename", b"")).replace("\\", "/").rpartition("/")[2]
        self.kind = self.wanted.kind_of(self._file_name)
        if self.kind is None:
            raise _wrong("file", f"{self._file_name[:100]!r} is of no kind that is read. {self.wanted.accepted}")
        self._file = (self.folder / stored_name(self.kind)).open("xb")
        self.writer = HashingWriter(self._file)

    def _write(self, data: bytes) -> None:
        if self._field == "name":
            self._text += data
            if len(self._text) > FORM_BYTES // 4:
                raise _wrong("name", f"has more than {NAME_CHARACTERS} characters")
            return
        self.size += len(data)
        if self.size > self.limit:
            raise too_large(self.limit, self.wanted)
        assert self.writer is not None
        self.writer.write(data)

    def _close(self) -> None:
        if self._field == "name":
            self.name = _text(self._text).strip()

    def _end(self) -> None:
        self.ended = True
        self.name = self.name or self._file_name
        if self._file is None:
            raise _wrong("file", f"the form has no file; send it as the field `file`. {self.wanted.accepted}")
        self._file.flush()
        if not self.size:
            raise _wrong("file", "the file is empty")
        if len(self.name) > NAME_CHARACTERS or not self.name.isprintable():
            raise _wrong("name", f"must be readable text of at most {NAME_CHARACTERS} characters, on one line")


def too_large(limit: int, wanted: Wanted = DATA) -> TooLarge:
    """Return the refusal of a file that has too many bytes."""
    text = f"The file is too large: this service takes {wanted.words} of at most {limit:,} bytes"
    return TooLarge(f"{text} ({wanted.setting}).")


async def receive(request: Request, folder: Path, limit: int, wanted: Wanted = DATA) -> Form:
    """Write the file of a form into a folder, as it arrives, and return the form.

    Args:
        request: The request, whose body was not read.
        folder: The folder of the upload.
        limit: Bytes that the file may have.
        wanted: What it may be.

    Raises:
        Unsupported: The body is no form.
        Invalid: The form is none that was ended, or has not what is wanted.
        TooLarge: The file is too large; announced as such, nothing of it is read.
        DiskIsFull: The disk has no room for it.
    """
    announced = request.headers.get("content-length", "")
    size = int(announced[:20]) if announced.isdigit() else 0
    if size > limit + FORM_BYTES:
        raise too_large(limit, wanted)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != FORM.encode() or b"boundary" not in options:
        raise Unsupported(f"A file is sent as a form ({FORM}) with the fields file and, perhaps, name.")
    require_room(folder, size)
    form = Form(folder, limit, wanted)
    try:
        await _feed(request, form, options[b"boundary"])
    except OSError as error:
        if is_full(error):
            raise full(folder) from error
        raise
    finally:
        form.close()
    return form


async def _feed(request: Request, form: Form, boundary: bytes) -> None:
    parser = form.parser(boundary)
    total, buffer = 0, bytearray()
    async for chunk in request.stream():
        total += len(chunk)
        if total > form.limit + FORM_BYTES:
            raise too_large(form.limit, form.wanted)
        buffer += chunk
        if len(buffer) >= BUFFER_BYTES:
            await run_in_threadpool(_write, parser, form, bytes(buffer))
            buffer.clear()
    await run_in_threadpool(_write, parser, form, bytes(buffer))
    if not form.ended:
        raise Invalid("The form was cut off before its end; nothing of it was kept. Send it again.")


def _write(parser: MultipartParser, form: Form, data: bytes) -> None:
    from python_multipart.exceptions import FormParserError

    require_room(form.folder, len(data))
    try:
        parser.write(data)
    except FormParserError:
        why = "it is cut off, or its parts are not separated as its header says"
        raise Invalid(f"The form cannot be read: {why}. Send it as {FORM}.") from None


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _wrong(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}" if path else message, [Fault(path=path, message=message)])
