"""What a stranger's text may look like: no invisible characters, no look-alike scripts, no thousand spellings of one.

A prompt is shown in logs and reports, compared with class names and handed to a costly model. A Cyrillic "а" in "stаr"
passes every eye and no comparison; a bidirectional override rewrites the line it is printed in; and five thousand
prompts that differ in a full stop are one prompt. Scripts are told by Unicode's character names, in the spirit of UTS
39 (confusables): letters may come from the Latin script and from those of the federation's own names, nothing else.

The federation's own names may look like anything that can be printed ("5µm", "B型肝炎", an emoji of several): where one
stands in a prompt as a word of its own, it is not checked.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache

# Control, format (bidirectional overrides, zero-width joiners), surrogate, private and unassigned characters, and the
# two separators that break lines: none belongs in a prompt, all can forge a log line or hide text from a reader.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me"})
_NEVER = frozenset({"Cc", "Cs", "Zl", "Zp"})  # not even in a name
_REORDERS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_WRITTEN_TOGETHER = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "KATAKANA-HIRAGANA"})
_LAST_PLAIN_LATIN = 0x24F  # beyond lie phonetic letters and ligatures, most of them twins of a-z


def scripts_of(names: Iterable[str]) -> frozenset[str]:
    """Return the scripts whose letters a federation with these names may use; Latin is always among them."""
    letters = {c for name in names for c in name if unicodedata.category(c)[0] == "L"}
    return frozenset({"LATIN", *(_script(c) for c in letters)})


def name_fault(name: str) -> str:
    """Return why a class or domain cannot bear this name, or ""."""
    if not name.strip():
        return "it is empty"
    for character in name:
        if unicodedata.category(character) in _NEVER or unicodedata.bidirectional(character) in _REORDERS:
            return f"it holds the control character U+{ord(character):04X}"
    return ""


def odd_names(names: Iterable[str], scripts: Collection[str]) -> tuple[str, ...]:
    """Return the names in which `fault` finds something, the longest first: what it must be told to allow."""
    bare = {name.strip() for name in names if not name_fault(name)}
    return tuple(sorted((name for name in bare if fault(name, scripts)), key=lambda name: (-len(name), name)))


def fault(text: str, scripts: Collection[str], allowed: Iterable[str] = ()) -> str:
    """Return what is wrong with a text, or "" if nothing is.

    Parameters
    ----------
    text : str
        Of any length; the time is linear in it.
    scripts : collection of str
        Scripts that are allowed, from `scripts_of`.
    allowed : iterable of str
        Names that are not checked where they stand as words of their own, from `odd_names`.
    """
    reason = _fault(text, scripts)
    if reason:
        for name in allowed:
            text = _without(text, name)
        reason = _fault(text, scripts)
    return reason


def _fault(text: str, scripts: Collection[str]) -> str:
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
            result = {_script(c) for c in word}
            if len(result) > 1 and not result <= _WRITTEN_TOGETHER:
                return f"a word of several scripts ({', '.join(sorted(result))[:60]})"
    return ""


def near_key(text: str) -> str:
    """Return what two prompts share that say the same: lower-case words without accents, digits and punctuation."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if unicodedata.category(c) != "Mn")
    return " ".join(re.findall(r"[^\W\d_]+", plain)) or " ".join(plain.split())


def _without(text: str, name: str) -> str:
    """Return a text without a name, except where a letter, digit or mark makes it a part of another word."""
    kept, start, position = [], 0, text.find(name)
    while position >= 0:
        end = position + len(name)
        before, after = text[position - 1 : position], text[end : end + 1]
        if _joined(before, name[0]) or _joined(name[-1], after):
            position = text.find(name, position + 1)
            continue
        kept.append(text[start:position])
        start, position = end, text.find(name, end)
    return " ".join([*kept, text[start:]])


def _joined(left: str, right: str) -> bool:
    """Return whether two neighbouring characters, or one and "", belong to one word or letter."""
    if not left or not right:
        return False
    kinds = {unicodedata.category(c)[0] for c in (left, right)}
    together = _script(left) in _WRITTEN_TOGETHER or _script(right) in _WRITTEN_TOGETHER
    return unicodedata.category(right)[0] == "M" or (kinds <= {"L", "N", "M"} and not together)


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
