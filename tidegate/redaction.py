"""Redaction of personal data in free text: card numbers, IBANs, e-mail addresses, phone numbers, names in context.

A regular expression proposes, a checksum or numbering plan disposes: card numbers pass Luhn (ISO/IEC 7812-1 annex B),
IBANs pass mod 97 and their country's length (ISO 13616, python-stdnum), phone numbers are valid in their country's
plan (phonenumbers). So an order number of sixteen digits stays. Names are found only where the text announces them
("my name is …", "regards, …"): there is no dictionary of names here, and a bare name is not found.

Preparation and the gateway's inference log share this code. It imports no data library, and the two validators only
when a candidate was seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Kind = Literal["email", "iban", "card", "phone", "name"]
PLACEHOLDERS: dict[Kind, str] = {
    "email": "<email>",
    "iban": "<iban>",
    "card": "<card>",
    "phone": "<phone>",
    "name": "<name>",
}
DEFAULT_REGION = "GB"  # the numbering plan for phone numbers without a country code

_EMAIL = re.compile(r"(?<![\w.+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
# Country, check digits, then 11 to 30 characters, which people group by four.
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
# 13 to 19 digits (ISO/IEC 7812-1), single spaces or hyphens between them.
_CARD = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")
# Starts like a phone number does: +, 00, a trunk 0, a bracket; or has the 3-3-4 shape of North America.
_PHONE = re.compile(
    r"(?<![\w.])(?:\+|00|\(?0)[0-9][0-9 ()./-]{5,18}[0-9](?![0-9])"
    r"|(?<![0-9-])\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}(?![0-9-])"
)
_WORD = r"[A-Z](?:['’][A-Z])?[a-z]+(?:[A-Z][a-z]+)?(?:['’-][A-Z][a-z]+)?"  # Anna, O'Neil, McKay, Smith-Jones
# What announces a name, how many words it then has, and what must follow.
_NAMES = tuple(
    re.compile(rf"(\b(?:{lead})\s+){_WORD}(?: {_WORD}){{{few},{many}}}{after}")
    for lead, few, many, after in (
        (r"[Mm]y (?:full )?name(?: is|'s)|[Ii]n the name of|[Nn]ame on the (?:card|account)(?: is|:)", 0, 2, ""),
        (r"[Tt]his is|[Ii]'m|I am|[Tt]o my (?:wife|husband|son|daughter|mum|landlord),?", 1, 1, ""),
        (r"(?:Mr|Mrs|Ms|Dr)\.?", 0, 1, ""),
        (r"(?:[Rr]egards|[Tt]hanks|[Cc]heers|[Ss]incerely|[Yy]ours),", 0, 1, r"(?=[.!]?\s*$)"),
    )
)


def redact(text: str) -> tuple[str, dict[str, int]]:
    """The text with personal data replaced by placeholders, and the number of spans by kind.

    Idempotent: redacting the result changes nothing. A replacement can only make the next one possible by removing
    characters that stood in its way, so passes repeat until nothing is found; every pass removes characters of the
    original, hence the loop ends.
    """
    counts: dict[str, int] = {}
    while True:
        found = _pass(text)
        if found is None:
            return text, counts
        text, hits = found
        for kind, count in hits.items():
            counts[kind] = counts.get(kind, 0) + count


def _pass(text: str) -> tuple[str, dict[str, int]] | None:
    """One pass over all kinds, or None when nothing was found."""
    hits: dict[str, int] = {}

    def replace(kind: Kind, pattern: re.Pattern[str], valid: Callable[[str], bool]) -> None:
        nonlocal text

        def swap(match: re.Match[str]) -> str:
            if not valid(match.group()):
                return match.group()
            hits[kind] = hits.get(kind, 0) + 1
            return PLACEHOLDERS[kind]

        text = pattern.sub(swap, text)

    if "@" in text:
        replace("email", _EMAIL, lambda _: True)
    if any(character.isdigit() for character in text):
        text, ibans = _replace_ibans(text)
        if ibans:
            hits["iban"] = ibans
        replace("card", _CARD, _is_card)
        replace("phone", _PHONE, _is_phone)

    for pattern in _NAMES:
        text, names = pattern.subn(rf"\1{PLACEHOLDERS['name']}", text)
        if names:
            hits["name"] = hits.get("name", 0) + names
    return (text, hits) if hits else None


def _replace_ibans(text: str) -> tuple[str, int]:
    """An IBAN's end is not visible to a pattern ("… 3000 please"): the longest valid head of a candidate is taken."""
    pieces: list[str] = []
    position = count = 0
    while match := _IBAN.search(text, position):
        end = _iban_end(match.group())
        pieces.append(text[position : match.start()])
        if end:
            pieces.append(PLACEHOLDERS["iban"])
            count += 1
            position = match.start() + end
        else:
            # Look again behind the first two letters: a real one may start inside the candidate.
            pieces.append(text[match.start() : match.start() + 2])
            position = match.start() + 2
    pieces.append(text[position:])
    return "".join(pieces), count


def _iban_end(candidate: str) -> int:
    """Length of the longest prefix that is a valid IBAN and ends at a group's end; 0 when there is none."""
    from stdnum import iban  # noqa: PLC0415 - only when a candidate was seen

    for end in range(len(candidate), 14, -1):
        inside = end < len(candidate) and candidate[end].isalnum()
        if not inside and candidate[end - 1].isalnum() and iban.is_valid(candidate[:end]):
            return end
    return 0


def _is_card(candidate: str) -> bool:
    from stdnum import luhn  # noqa: PLC0415 - only when a candidate was seen

    digits = re.sub(r"[ -]", "", candidate)
    return len(set(digits)) > 1 and bool(luhn.is_valid(digits))


def _is_phone(candidate: str) -> bool:
    import phonenumbers  # noqa: PLC0415 - 0.1 s, and only when a candidate was seen

    number = f"+{candidate[2:]}" if candidate.startswith("00") else candidate
    region = DEFAULT_REGION if number.lstrip("(").startswith("0") else "US"
    try:
        parsed = phonenumbers.parse(number, region)
        # Who writes a country code means a phone number, whether or not its block has been given out yet.
        check = phonenumbers.is_possible_number if candidate.startswith("+") else phonenumbers.is_valid_number
        return bool(check(parsed))
    except phonenumbers.NumberParseException:
        return False
