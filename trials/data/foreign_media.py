"""What files are that lie among images or sounds and are none, by their first bytes or endings, with the cure.

`data.media` asks `what_else` about a file that it cannot decode, `data.media_folders` asks `cure_of` about endings.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_FETCH = "download it again, or remove its row"
_TO_WAV, _TO_JPG = "convert it: ffmpeg -i FILE FILE.wav", "take an image out of it: ffmpeg -i FILE -frames:v 1 FILE.jpg"
_SAME = {"image": "is an image", "audio": "is a sound"}
_STARTS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|\?xml[^>]*>\s*<html)", re.I), "is a web page", _FETCH),
    (re.compile(rb"version https://git-lfs"), "is only the pointer to a file of Git LFS", "fetch it: git lfs pull"),
    (re.compile(rb"\s*(?:<\?xml|<svg|<!DOCTYPE svg)"), "is a drawing (SVG)", "convert it to png"),
    (re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.S), "is a HEIC photo", "convert it: mogrify -format jpg FILE"),
    (re.compile(rb"....ftypavi", re.S), "is an AVIF image", "convert it: mogrify -format png FILE"),
    (re.compile(rb"....ftyp", re.S), "is MPEG-4 (m4a, mp4)", _TO_WAV),
    (re.compile(rb"\x1aE\xdf\xa3"), "is WebM or Matroska", _TO_WAV),
    (re.compile(rb"#!AMR"), "is AMR", _TO_WAV),
    (re.compile(rb"\x30\x26\xb2\x75"), "is WMA", _TO_WAV),
    (re.compile(rb"8BPS"), "is a file of Photoshop", "convert it to png"),
    (re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP", re.S), "is an image", "remove its row"),
    (re.compile(rb"RIFF....WAVE|fLaC|OggS|ID3", re.S), "is a sound", "remove its row"),
    (re.compile(rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b"), "is an archive", "unpack it"),
    (re.compile(rb"\x93NUMPY"), "is an array of NumPy", "save it in a format of images or sounds"),
    (re.compile(rb"%PDF-"), "is a PDF document", "convert it to png"),
    (re.compile(rb".{128}DICM", re.S), "is a DICOM image", "convert it to png (pydicom reads it)"),
    (re.compile(rb"\0{64}"), "begins with zeros, as after a broken download", _FETCH),
)
_FFMPEG = "convert them with: ffmpeg -i x{0} x.wav"
_CURES: Mapping[str, Mapping[str, str]] = {
    "image": {
        **dict.fromkeys((".heic", ".heif"), "convert them with: mogrify -format jpg *{0}"),
        **dict.fromkeys((".avif", ".svg", ".psd", ".pdf", ".jxl"), "convert them with: mogrify -format png *{0}"),
        **dict.fromkeys((".dcm", ".nii", ".npy", ".npz"), "save each image as a png"),
        **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv"), "take frames out of them: ffmpeg -i x{0} -r 1 x-%04d.jpg"),
        **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "unpack them"),
        **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg"), "these are sounds, for the task audio-classification"),
    },
    "audio": {
        **dict.fromkeys((".m4a", ".mp4", ".wma", ".aac", ".amr", ".webm", ".3gp", ".mkv", ".mov", ".avi"), _FFMPEG),
        **dict.fromkeys(
            (".pcm", ".raw", ".sph"), "write them as wav, with the rate and format that they were recorded in"
        ),
        **dict.fromkeys((".npy", ".npz"), "write each sound as a wav"),
        **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "unpack them"),
        **dict.fromkeys((".jpg", ".jpeg", ".png"), "these are images, for the task image-classification"),
    },
}


def what_else(item: Path | bytes, role: str) -> tuple[str, str] | None:
    """Return what a file is that cannot be decoded, as the end of a sentence, and what to do; None if unknown.

    Args:
        item: The file, or its bytes.
        role: "image" or "audio": what it should be.
    """
    if isinstance(item, bytes):
        data = item[:256]
    else:
        with item.open("rb") as stream:
            data = stream.read(256)
    found = next(((reason, cure) for start, reason, cure in _STARTS if start.match(data)), None)
    if found is None or found[0] == _SAME[role]:
        return None
    return found[0], found[1].replace(_TO_WAV, _TO_JPG) if role == "image" else found[1]


def cure_of(ending: str, role: str) -> str | None:
    """Return what makes images or sounds of files with an ending, or None.

    Args:
        ending: In small letters, with its dot.
        role: "image" or "audio".
    """
    cure = _CURES[role].get(ending)
    return None if cure is None else cure.format(ending)
