"""What a voice says when there is no answer: one short sentence for each kind of reason. Pure."""

from collections.abc import Mapping

from rkllmd.errors import FACTS, Code, NotFound, RequestError, StateError

DEFAULT = "en"

_NOT_NOW: Mapping[str, str] = {
    "ar": "لا أستطيع الإجابة الآن. حاول مرة أخرى من فضلك.",
    "de": "Das geht gerade nicht. Bitte versuche es gleich noch einmal.",
    "en": "I cannot answer right now. Please try again.",
    "es": "Ahora mismo no puedo responder. Inténtalo de nuevo, por favor.",
    "fr": "Je ne peux pas répondre pour le moment. Réessaie, s'il te plaît.",
    "hi": "मैं अभी जवाब नहीं दे सकता। कृपया फिर से कोशिश करें।",
    "it": "In questo momento non posso rispondere. Riprova, per favore.",
    "ja": "今は答えられません。もう一度お試しください。",
    "nl": "Dat lukt nu even niet. Probeer het straks nog eens.",
    "pl": "Nie mogę teraz odpowiedzieć. Spróbuj ponownie.",
    "pt": "Não posso responder agora. Tente de novo, por favor.",
    "ru": "Сейчас я не могу ответить. Попробуйте ещё раз.",
    "zh": "我现在无法回答。请再试一次。",
}
_NOT_UNDERSTOOD: Mapping[str, str] = {
    "ar": "لم أفهم ذلك.",
    "de": "Das habe ich nicht verstanden.",
    "en": "I did not understand that.",
    "es": "No lo he entendido.",
    "fr": "Je n'ai pas compris.",
    "hi": "मैं यह समझ नहीं पाया।",
    "it": "Non ho capito.",
    "ja": "聞き取れませんでした。",
    "nl": "Dat heb ik niet begrepen.",
    "pl": "Nie rozumiem.",
    "pt": "Não entendi.",
    "ru": "Я не понял.",
    "zh": "我没听懂。",
}
_BROKEN: Mapping[str, str] = {
    "ar": "حدث خطأ ما.",
    "de": "Da ist etwas schiefgegangen.",
    "en": "Something went wrong.",
    "es": "Algo ha salido mal.",
    "fr": "Quelque chose s'est mal passé.",
    "hi": "कुछ गड़बड़ हो गई।",
    "it": "Qualcosa è andato storto.",
    "ja": "問題が発生しました。",
    "nl": "Er ging iets mis.",
    "pl": "Coś poszło nie tak.",
    "pt": "Algo deu errado.",
    "ru": "Что-то пошло не так.",
    "zh": "出了点问题。",
}


def apology(code: Code, language: str | None) -> str:
    """What to say for an error, in a language (a BCP 47 tag) as far as it is known."""
    family = FACTS[code].family
    if family is StateError:
        sentences = _NOT_NOW
    else:
        sentences = _NOT_UNDERSTOOD if family in {RequestError, NotFound} else _BROKEN
    spoken = (language or DEFAULT).replace("_", "-").partition("-")[0].lower()
    return sentences.get(spoken, sentences[DEFAULT])
