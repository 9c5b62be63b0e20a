"""Sounds that are cut off, not ended, silent or broken: found by trying them, and told at once."""

import io
import struct
from pathlib import Path

import numpy
import pytest
import soundfile

from luthier.trials.data.media import Unreadable
from luthier.trials.data.sounds import try_audio
from luthier.trials.errors import BadData
from tests.support.findings import about
from tests.unit.trials.inputs.media_trees import load

RATE = 16_000


def sound(number: int, kind: str = "WAV", subtype: str | None = None, seconds: float = 1.0, channels: int = 1) -> bytes:
    noise = 0.1 * numpy.random.default_rng(number).standard_normal((round(RATE * seconds), channels))
    file = io.BytesIO()
    soundfile.write(file, noise if number else 0 * noise, RATE, format=kind, subtype=subtype)
    return file.getvalue()


KINDS = [
    ("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"),
    ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@pytest.mark.parametrize("form", ["bytes", "file"])
def test_a_sound_that_is_cut_off(kind: str, subtype: str | None, form: str, tmp_path: Path) -> None:
    content = sound(1, kind, subtype)
    file = tmp_path / "x"
    for part in (content, content[: len(content) // 3], content[: len(content) // 10 * 9]):
        file.write_bytes(part)
        item = file if form == "file" else part
        if part is content:
            assert try_audio(item)
        else:
            with pytest.raises(Unreadable, match=r"is cut off|cannot be read as a sound"):
                try_audio(item)


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F000])
def test_a_recording_of_unknown_length_is_read(length: int) -> None:
    """As ffmpeg and sox write into a pipe."""
    content = sound(1)
    assert try_audio(content[:40] + struct.pack("<I", length) + content[44:])


def test_headers_of_the_wrong_length() -> None:
    content = sound(1)
    with pytest.raises(Unreadable, match=r"has a wrong header: it names 0 bytes of sound"):
        try_audio(content[:40] + struct.pack("<I", 0) + content[44:])
    with pytest.raises(Unreadable, match=r"has a wrong header: it names 10 bytes of sound, and the file has 32,044"):
        try_audio(content[:40] + struct.pack("<I", 10) + content[44:])
    with pytest.raises(Unreadable, match=r"is cut off: 32,000 of the 64,000 bytes that its header names are there"):
        try_audio(content[:40] + struct.pack("<I", 64_000) + content[44:])


def test_what_stands_behind_a_sound_is_no_fault() -> None:
    content = sound(1)
    for more in (b"LIST" + struct.pack("<I", 4) + b"INFO", b"\0", bytes(100)):
        assert try_audio(content + more)
    total = struct.pack("<I", len(content))  # the whole file's length, as careless writers put it
    assert try_audio(content[:4] + total + content[8:])
    assert try_audio(sound(1, "MP3") + b"TAG" + bytes(125))


def test_a_long_sound_is_tried_at_its_end() -> None:
    content = sound(1, "FLAC", seconds=130)
    assert try_audio(content)
    with pytest.raises(Unreadable):
        try_audio(content[:-5_000])


def fill(folder: Path, kind: str = "wav") -> Path:
    for i in range(24):
        label = ("kick", "silence")[i % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        content = sound(i + 1 if label == "kick" else 0, seconds=0.1 + i / 100, channels=1 + i % 2)
        (folder / label / f"{i:02}.{kind}").write_bytes(content)
    return folder


def test_a_class_of_silence_is_a_class(tmp_path: Path) -> None:
    data = load(fill(tmp_path), "audio-classification", verify=True)
    assert data.labels == {"kick": 12, "silence": 12}
    (found,) = about(data, "silent-sounds")
    assert found.message.startswith(f"12 of 24 sounds are silent from beginning to end: {tmp_path}/silence/01.wav, ")
    assert found.message.endswith(" and 2 more.")
    assert (found.severity, found.count, len(found.examples)) == ("warning", 12, 10)


def test_a_constant_is_silence() -> None:
    constant = io.BytesIO()
    soundfile.write(constant, numpy.full(70_000, 0.25), 16_000, format="WAV")
    assert not try_audio(constant.getvalue())
    late = numpy.full(70_000, 0.25)
    late[-1] = 0.0
    constant = io.BytesIO()
    soundfile.write(constant, late, 16_000, format="WAV")
    assert try_audio(constant.getvalue())


def test_all_broken_sounds_are_told_at_once(tmp_path: Path) -> None:
    fill(tmp_path)
    kicks = sorted((tmp_path / "kick").iterdir())
    kicks[0].write_bytes(kicks[0].read_bytes()[:1_000])
    kicks[1].write_bytes(b"no sound")
    kicks[2].write_bytes(b"")
    with pytest.raises(BadData) as refused:
        load(tmp_path, "audio-classification", verify=True)
    for said in (
        "3 of 24 audio files cannot be used",
        "is cut off: ",
        "cannot be read as a sound",
        "the file is empty",
    ):
        assert said in refused.value.message
    data = load(tmp_path, "audio-classification", unreadable="skip")
    assert data.labels == {"kick": 9, "silence": 12}


def test_sounds_of_any_name(tmp_path: Path) -> None:
    fill(tmp_path)
    for i, (kind, subtype) in enumerate(KINDS):
        (tmp_path / "kick" / f"more{i}.dat").write_bytes(sound(100 + i, kind, subtype))
    for i in range(3):
        (tmp_path / "kick" / f"{i}.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    data = load(tmp_path, "audio-classification", verify=True)
    assert data.labels == {"kick": 12 + len(KINDS), "silence": 12}
    (found,) = about(data, "files-passed-over")
    assert "passed over by their endings 3 files (3 .m4a)" in found.message
    assert (found.severity, found.count, found.examples) == ("warning", 3, [".m4a"])
    assert "ffmpeg" in found.cure
