"""What must not leave the client in a caption: addresses, numbers and names of persons.

Captions come from models that read signs and screens, and from data sets whose captions people wrote. What looks like
an e-mail address, a URL, a telephone number or a long number goes; so do the names of persons: by spaCy's entities
where spaCy and an English model are installed, else by titles ("Dr. Ada Lovelace") and by runs of two or more
capitalised words inside a sentence. It is a net, not a proof: `fgl preview` shows what is left.
"""

import importlib.util
import re
from collections.abc import Callable, Collection
from functools import lru_cache

_PATTERNS = (
    re.compile(r"\b[\w.+-]+\s?(?:@|\(at\))\s?[\w-]+(?:\.[\w-]+)+", re.IGNORECASE),  # e-mail
    re.compile(r"\b(?:https?://|www\.)\S+|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io|de|uk|fr|info)\b\S*", re.I),
    re.compile(r"(?<!\w)@\w{2,}"),  # a handle
    re.compile(r"\+?\(?\d[\d\s().,/-]{4,}\d"),  # telephone, card and account numbers, dates
    re.compile(r"\b(?=\w*\d{4})\w+\b|\d{4,}"),  # long numbers, plates and serial numbers
)
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Lady)\.?\s+[A-Z][\w'-]*(?:\s+[A-Z][\w'-]*)*")
_CAPITALISED = re.compile(r"(?<=[a-z,;:]\s)[A-Z][a-z'-]+(?:\s+(?:(?:van|von|de|la|bin|al)\s+)*[A-Z][a-z'-]+)+")


def scrub(text: str, allowed: Collection[str] = ()) -> str:
    """Return a caption without what may point to a person.

    Parameters
    ----------
    text : str
    allowed : collection of str
        Names of the federation, which stay whatever they look like ("French Horn").
    """
    kept = frozenset(name.casefold() for name in allowed)
    for pattern in _PATTERNS:
        text = pattern.sub(" ", text)
    for person in sorted({*_persons_by_pattern(text), *_recogniser()(text)}, key=len, reverse=True):
        if person.casefold() not in kept:
            text = text.replace(person, "someone")
    return re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split())).strip(" ,;:")


def _persons_by_pattern(text: str) -> list[str]:
    return [match.group() for pattern in (_TITLE, _CAPITALISED) for match in pattern.finditer(text)]


@lru_cache(maxsize=1)
def _recogniser() -> Callable[[str], list[str]]:
    """Return a function that names the persons of a text; without spaCy and an English model it names nobody."""
    if importlib.util.find_spec("spacy") is None:
        return lambda text: []
    import spacy

    models = [name for name in spacy.util.get_installed_models() if name.startswith("en_")]
    if not models:
        return lambda text: []
    language = spacy.load(models[0], exclude=["parser", "lemmatizer"])
    return lambda text: [entity.text for entity in language(text).ents if entity.label_ == "PERSON"]
