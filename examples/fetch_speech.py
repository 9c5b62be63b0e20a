"""Speech synthesised from real sentences, for fetch.py."""

import ctypes
import random
import re
import wave
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fetch_texts import english_sentences
from packages import ROOT, python_package, write_csv

SENTENCES = 1200
WORDS = 90  # the most frequent ones; every sentence is made of them
VOICES = {  # and what one hears of each
    "en-us": ("american", "man"),
    "en": ("british", "man"),
    "en-us+m3": ("american", "man"),
    "en-us+f3": ("american", "woman"),
    "en+f2": ("british", "woman"),
    "en-us+m7": ("american", "man"),
}
FAST = 170  # words a minute and more


def speech() -> Path:
    """1,200 short English sentences (Tatoeba, CC BY 2.0 FR) by six voices of eSpeak NG (GPL-3+): wav, with transcripts.

    Columns: audio, text (small letters, blanks and apostrophes), rate (words a minute, 110 to 220), traits (american or
    british, man or woman, and fast, with bars between them), voice.
    """
    generator = random.Random(0)  # noqa: S311
    folder = ROOT / "data" / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    speak = _synthesizer()
    rows = []
    for number, text in enumerate(_transcripts(generator)):
        voice, rate = generator.choice(list(VOICES)), generator.randint(110, 220)
        sampling_rate, samples = speak(text, voice, rate)
        with wave.open(str(folder / f"{number:04}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sampling_rate)
            file.writeframes(samples)
        traits = "|".join((*VOICES[voice], *(["fast"] if rate >= FAST else [])))
        rows.append((f"{number:04}.wav", text, rate, traits, voice))
    write_csv(folder / "speech.csv", ("audio", "text", "rate", "traits", "voice"), rows)
    return folder


def _transcripts(generator: random.Random) -> list[str]:
    """Return sentences of 2 to 6 words, made of the most frequent words of such sentences."""
    sentences = {re.sub(r"[^a-z' ]", "", text.lower().replace("\u2019", "'")) for text in english_sentences()}
    short = sorted(text for text in sentences if 2 <= len(text.split()) <= 6)
    counts = Counter(word for text in short for word in text.split())
    usual = {word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:WORDS]}
    chosen = [text for text in short if usual.issuperset(text.split())]
    return generator.sample(chosen, min(SENTENCES, len(chosen)))


def _synthesizer() -> Callable[[str, str, int], tuple[int, bytes]]:
    """Return a function of text, voice and words a minute that returns the sampling rate and 16-bit samples."""
    package = python_package("espeakng-loader==0.2.4", "espeakng_loader")
    (library,) = [path for name in ("libespeak-ng.so", "libespeak-ng.dylib") for path in package.glob(name)]
    espeak = ctypes.CDLL(str(library))
    retrieve, words_a_minute, utf8 = 1, 1, 1  # AUDIO_OUTPUT_RETRIEVAL, espeakRATE, espeakCHARS_UTF8
    sampling_rate = espeak.espeak_Initialize(retrieve, 0, str(package).encode(), 0)
    pieces: list[bytes] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def receive(samples: int | None, count: int, _events: int) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    def speak(text: str, voice: str, rate: int) -> tuple[int, bytes]:
        pieces.clear()
        espeak.espeak_SetSynthCallback(receive)
        if espeak.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak has no voice {voice}")
        espeak.espeak_SetParameter(words_a_minute, rate, 0)
        words = text.encode()
        espeak.espeak_Synth(words, len(words) + 1, 0, 1, 0, utf8, None, None)
        espeak.espeak_Synchronize()
        return sampling_rate, b"".join(pieces)

    return speak
