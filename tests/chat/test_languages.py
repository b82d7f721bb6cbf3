"""The wish for the language that is spoken."""

import pytest

from rkllmd.chat.languages import wish_for


@pytest.mark.parametrize(
    ("spoken", "own", "wish"),
    [
        (None, "en", ""),
        ("", "en", ""),
        ("en", "en", ""),
        ("en-GB", "en_US", ""),
        ("de-AT", "en", " (Answer in German.)"),
        ("EN", "de", " (Answer in English.)"),
        ("gsw", "de", " (Answer in the language gsw.)"),
    ],
)
def test_only_another_language_is_asked_for(spoken, own, wish):
    assert wish_for(spoken, own) == wish
