"""Why an archive or a packed file cannot be unpacked, in words for people; the libraries speak of headers and streams.

What unpacks archives of models, data and studies asks it, and the readers of packed tables.
"""

import errno
import gzip
import lzma
import re
import tarfile
import zipfile
import zlib

CUT = "it is cut off or damaged"


def damage(error: BaseException) -> str:
    """Return what is wrong with an archive, as the end of a sentence: `it has a password`."""
    text = str(error)
    if isinstance(error, zipfile.BadZipFile):
        damaged = re.match(r"Bad CRC-32 for file (.{1,200})", text)
        if damaged is not None:
            return f"the file {damaged[1]} in it is damaged"
        return "it is no zip, or its end is missing" if "not a zip file" in text else CUT
    if isinstance(error, NotImplementedError):
        return "it is packed in a way that is not known here; pack it with zip or tar as they are"
    if isinstance(error, RuntimeError) and ("password" in text or "encrypted" in text):
        return "it has a password; pack it without one"
    if isinstance(error, tarfile.TarError):
        return "it is no tar archive, or is cut off or damaged"
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return "it holds a name twice, or as a file and as a folder"
    if isinstance(error, gzip.BadGzipFile | zlib.error | lzma.LZMAError | EOFError | ValueError | RuntimeError):
        return CUT
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or CUT


def is_of_archive(error: OSError) -> bool:
    """Return whether an error of the system says that the archive is at fault, and not the disk.

    bz2 raises an OSError of no number for damaged bytes; and a name in an archive can be one that no file can have.
    """
    return error.errno in (None, errno.ENAMETOOLONG, errno.EILSEQ)
