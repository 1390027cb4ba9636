"""The recording of the demo: tones instead of voices, a higher one for each line of the transcript."""

import math
import wave
from array import array
from pathlib import Path
from typing import Final

from herdbook.media import Media

CONTENT_TYPE: Final = "audio/wav"
# Low, because the file is part of each new demo.
_RATE: Final = 8000
_PEAK: Final = 40
# A tone that began or ended at once would click.
_FADE_SECONDS: Final = 0.05
_LOWEST_HERTZ: Final = 220.0
_HALF_TONES: Final = 4


def write_recording(path: Path, lines: list[tuple[float, float]]) -> Media:
    """Write a recording with a tone for each line, which begins and ends at these seconds."""
    samples = array("B", [128]) * math.ceil(lines[-1][1] * _RATE)
    for number, (begins, ends) in enumerate(lines):
        hertz = _LOWEST_HERTZ * 2 ** (number * _HALF_TONES / 12)
        for place in range(round(begins * _RATE), round(ends * _RATE)):
            loudness = min(1.0, (place / _RATE - begins) / _FADE_SECONDS, (ends - place / _RATE) / _FADE_SECONDS)
            samples[place] = 128 + round(_PEAK * loudness * math.sin(math.tau * hertz * place / _RATE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(_RATE)
        file.writeframes(samples.tobytes())
    return Media(CONTENT_TYPE, path.stat().st_size)
