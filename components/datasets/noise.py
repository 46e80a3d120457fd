"""How people really write: typos, slang, casing; and personal data that they should not have sent."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faker import Faker

_NEIGHBOURS = {  # on a QWERTY keyboard
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "k": "jl",
    "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "r": "et", "s": "ad", "t": "ry", "u": "yi",
    "w": "qe", "y": "tu",
}  # fmt: skip
_SLANG = {
    "please": "pls", "you": "u", "your": "ur", "are": "r", "thanks": "thx", "because": "cos", "tomorrow": "tmrw",
    "yesterday": "yday", "message": "msg", "account": "acc", "money": "cash", "I have": "ive", "I am": "im",
    "what is": "whats", "cannot": "cant", "do not": "dont", "did not": "didnt", "going to": "gonna",
    "want to": "wanna", "and": "&",
}  # fmt: skip
_ENDINGS = ("", "", "", ".", "?", "!", "??", "...", " :(")


def typo(text: str, rng: random.Random) -> str:
    """One slip of the keyboard: a neighbour's key, a letter left out, doubled, or swapped with the next."""
    places = [i for i, character in enumerate(text[:-1]) if character.isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    match rng.randrange(4):
        case 0:
            return text[:i] + rng.choice(_NEIGHBOURS.get(text[i].lower(), "e")) + text[i + 1 :]
        case 1:
            return text[:i] + text[i + 1 :]
        case 2:
            return text[:i] + text[i] + text[i:]
        case _:
            return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def slang(text: str, rng: random.Random, probability: float) -> str:
    """Shortens words as people do in chats, each with a probability."""
    padded = f" {text} "
    for long, short in _SLANG.items():
        if f" {long} " in padded and rng.random() < probability:
            padded = padded.replace(f" {long} ", f" {short} ")
    return padded[1:-1]


def roughen(text: str, rng: random.Random, *, typos: float, slang_words: float) -> str:
    """Typos, slang, casing and an ending. The two numbers are probabilities: of a typo, and per slang word."""
    text = slang(text, rng, slang_words)
    while rng.random() < typos:
        text = typo(text, rng)
    case = rng.random()
    if case < 0.45:
        text = text[:1].upper() + text[1:]
    elif case < 0.8:
        text = text.lower()
    elif case < 0.83:
        text = text.upper()
    return text + rng.choice(_ENDINGS)


def restyle(text: str, rng: random.Random) -> str:
    """Real messages in the wording of a chat: for drifted traffic made of real rows."""
    opener = rng.choice(("yo ", "heyyy ", "ugh ", "ok so ", ""))
    closer = rng.choice((" any ideas??", " ty", " sort it pls", " lol", ""))
    return opener + slang(typo(text.lower().rstrip(".?!"), rng), rng, 0.9) + closer


def personal_data(rng: random.Random) -> str:
    """A sentence with a name, e-mail address, phone number, card number (passes Luhn) or IBAN; all invented."""
    fake = _faker()
    fake.seed_instance(rng.randrange(1 << 32))
    kind = rng.randrange(5)
    if kind == 0:
        return f"my name is {fake.first_name()} {fake.last_name()}"
    if kind == 1:
        return f"write to {fake.user_name()}@{fake.free_email_domain()}"
    if kind == 2:
        return f"call me on +44 7{rng.choice('4578')}{rng.randrange(10)}0 {rng.randrange(10**6):06d}"
    if kind == 3:
        number = fake.credit_card_number(card_type="visa16")
        return f"card number {' '.join(number[i : i + 4] for i in range(0, 16, 4))}"
    return f"my IBAN is {fake.iban()}"


@lru_cache(maxsize=1)
def _faker() -> Faker:
    from faker import Faker  # noqa: PLC0415 - slow to import

    return Faker("en_GB")
