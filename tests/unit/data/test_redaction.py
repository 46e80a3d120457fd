"""Redaction finds what validates, leaves what does not, and is idempotent."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.datasets.noise import personal_data
from tidegate.redaction import PLACEHOLDERS, redact


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("card 4111 1111 1111 1111 please", "card <card> please"),
        ("card 4111-1111-1111-1111", "card <card>"),
        ("4111111111111111", "<card>"),
        ("send it to IBAN DE89 3704 0044 0532 0130 00 please", "send it to IBAN <iban> please"),
        ("gb82west12345698765432", "<iban>"),
        ("mail jane.doe+bank@mail.example.co.uk.", "mail <email>."),
        ("call me on +44 7911 123456 now", "call me on <phone> now"),
        ("call 020 7946 0958", "call <phone>"),
        ("ring (212) 555-2368", "ring <phone>"),
        ("My name is Anna-Lena Smith and I lost it", "My name is <name> and I lost it"),
        ("card declined. Regards, Tom Baker", "card declined. Regards, <name>"),
        ("Mrs. O'Neil was here", "Mrs. <name> was here"),
        ("Mr Jones called", "Mr <name> called"),
    ],
)
def test_finds_what_validates(text: str, redacted: str) -> None:
    assert redact(text)[0] == redacted


@pytest.mark.parametrize(
    "text",
    [
        "order 1234567812345678 is late",  # fails Luhn
        "DE00 3704 0044 0532 0130 00",  # fails mod 97
        "I paid 100000000 on 2024-01-05 at 12:00",
        "this is Fine with me",
        "I am on my way to Lisbon",
        "0000 0000 0000 0000",
        "+999 12",
    ],
)
def test_leaves_what_only_looks_like_it(text: str) -> None:
    assert redact(text) == (text, {})


def test_counts_spans_by_kind() -> None:
    _, found = redact("4111111111111111 and 4111111111111111, a@b.example, my name is Ann")
    assert found == {"card": 2, "email": 1, "name": 1}


_PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "4111 1111 1111 1111",
            "DE89370400440532013000",
            "a@b.example",
            "+44 7911 123456",
            "my name is ",
            "Anna Smith",
            "regards, ",
            " ",
            "0",
            "-",
            *PLACEHOLDERS.values(),
        ]
    ),
)


@given(st.lists(_PIECES, max_size=10).map("".join))
def test_is_idempotent(text: str) -> None:
    once, _ = redact(text)
    assert redact(once) == (once, {})


@given(st.integers())
def test_finds_all_personal_data_of_the_generator(seed: int) -> None:
    text = f"Where is my card? {personal_data(random.Random(seed))}"
    assert sum(redact(text)[1].values()) == 1
