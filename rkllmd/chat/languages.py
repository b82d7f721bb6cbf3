"""Asking a model for the language that is spoken. Pure.

A model answers in its first language when it is not told. Where another one is spoken, every turn
of the user ends with a wish for it: the system prompt, and so its cache, stays what it is, and
earlier turns read the same in every later prompt.
"""

from collections.abc import Mapping

NAMES: Mapping[str, str] = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


def wish_for(spoken: str | None, own: str) -> str:
    """What a turn ends with when this is spoken to a model of that language; both BCP 47 tags."""
    if not spoken or _primary(spoken) == _primary(own):
        return ""
    name = NAMES.get(_primary(spoken), f"the language {spoken}")
    return f" (Answer in {name}.)"


def _primary(tag: str) -> str:
    return tag.replace("_", "-").partition("-")[0].lower()
