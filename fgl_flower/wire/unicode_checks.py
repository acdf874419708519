"""What a stranger's text may look like: no invisible characters, no look-alike scripts, no thousand spellings of one.

A prompt is shown in logs and reports, compared with class names and handed to a costly model. A Cyrillic "а" in "stаr"
passes every eye and no comparison; a bidirectional override rewrites the line it is printed in; and five thousand
prompts that differ in a full stop are one prompt. Scripts are told by Unicode's character names, in the spirit of UTS
39 (confusables): letters may come from the Latin script and from those of the federation's own names, nothing else.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache

# Control, format (bidirectional overrides, zero-width joiners), surrogate, private and unassigned characters, and the
# two separators that break lines: none belongs in a prompt, all can forge a log line or hide text from a reader.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me"})
_WRITTEN_TOGETHER = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "KATAKANA-HIRAGANA"})
_LAST_PLAIN_LATIN = 0x24F  # beyond lie phonetic letters and ligatures, most of them twins of a-z


def scripts_of(names: Iterable[str]) -> frozenset[str]:
    """Return the scripts whose letters a federation with these names may use; Latin is always among them."""
    letters = {c for name in names for c in name if unicodedata.category(c)[0] == "L"}
    return frozenset({"LATIN", *(_script(c) for c in letters)})


def fault(text: str, scripts: Collection[str]) -> str:
    """Return what is wrong with a text, or "" if nothing is.

    Parameters
    ----------
    text : str
        Of any length; the time is linear in it.
    scripts : collection of str
        Scripts that are allowed, from `scripts_of`.
    """
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        if category in _REFUSED_CATEGORIES:
            return "a control or invisible character"
        marks = marks + 1 if category == "Mn" else 0
        if marks > 2:
            return "stacked combining marks"
        if not character.isascii() and (reason := _look_alike(character, category, scripts)):
            return reason
    if not text.isascii():
        for word in re.findall(r"[^\W\d_]+", text):
            found = {_script(c) for c in word}
            if len(found) > 1 and not found <= _WRITTEN_TOGETHER:
                return f"a word of several scripts ({', '.join(sorted(found))[:60]})"
    return ""


def near_key(text: str) -> str:
    """Return what two prompts share that say the same: lower-case words without accents, digits and punctuation."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if unicodedata.category(c) != "Mn")
    return " ".join(re.findall(r"[^\W\d_]+", plain)) or " ".join(plain.split())


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """Return the first word of a character's Unicode name: the script, for letters."""
    return unicodedata.name(character, "UNNAMED").split(" ")[0]


def _look_alike(character: str, category: str, scripts: Collection[str]) -> str:
    folded = unicodedata.normalize("NFKC", character)
    if category in {"Nd", "Nl"} or (category == "So" and len(folded) == 1 and folded.isalnum()):
        return "a digit or letter in disguise"
    if category[0] != "L":
        return ""
    script = _script(character)
    if script not in scripts:
        return f"a letter of another script ({script[:20]}) than the federation's names"
    plain = ord(character) <= _LAST_PLAIN_LATIN or unicodedata.normalize("NFD", character)[0].isascii()
    if script == "LATIN" and (not plain or category == "Lo" or folded != character):
        return "a letter that looks like another"
    return ""
