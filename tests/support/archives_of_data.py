"""Archives of data for tests: good ones, and those that a service must refuse."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping

from PIL import Image


def zipped(files: Mapping[str, bytes], **modes: int) -> bytes:
    """Return a zip of files; `modes`: a name's Unix mode, as that of a link."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = modes.get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w:gz", **others: bytes) -> bytes:
    """Return a tar of files; `others`: name -> the type of a member that is no file, which points to /etc/passwd."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind in others.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return out.getvalue()


def picture(shade: int, side: int = 8) -> bytes:
    """Return a grey image as png."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (shade, shade, shade)).save(out, "PNG")
    return out.getvalue()


def pictures(per_class: int = 4, folder: str = "") -> dict[str, bytes]:
    """Return the files of a folder with two classes of images."""
    shades = {"dark": 0, "light": 200}
    return {
        f"{folder}{label}/{i}.png": picture(shade + 2 * i, 8 + i)
        for label, shade in shades.items()
        for i in range(per_class)
    }
