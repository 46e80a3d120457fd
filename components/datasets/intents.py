"""The bank's intents: phrases that ask for each, in two styles of wording.

`standard` is how customers write at first; `chat` is new wording for the same wants, which appears only in drifted
traffic. A version that was trained on `standard` alone understands `chat` imperfectly; that gap is what drift detection
and retraining are for. Braces are slots, filled from `SLOTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["standard", "chat"]


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One want of a customer. `name` is the label and the model's answer."""

    name: str
    standard: tuple[str, ...]
    chat: tuple[str, ...]

    def phrases(self, style: Style) -> tuple[str, ...]:
        return self.standard if style == "standard" else self.chat


BASE = (
    Intent(
        name="card_arrival",
        standard=(
            "my new {card} has still not arrived",
            "when will the {card} I ordered {time} get here",
            "I ordered a {card} {days} ago and it is not in the post",
            "how long does delivery of a {card} take, I have waited {days}",
            "is there tracking for the {card} you sent me",
            "I am still waiting on my {card}",
            "the {card} you posted {time} never reached my address",
        ),
        chat=(
            "postie came again and zero plastic from you lot",
            "been checking the letterbox for {days}, nada",
            "eta on the new plastic?",
            "did you guys even ship it",
        ),
    ),
    Intent(
        name="card_lost",
        standard=(
            "I have lost my {card}",
            "my {card} was stolen {time} in {city}",
            "I cannot find my {card} anywhere, please block it",
            "someone took my wallet with the {card} in it",
            "I left my {card} in a taxi in {city}, what should I do",
            "please freeze my {card}, I think I dropped it {time}",
            "report a missing {card}",
        ),
        chat=(
            "wallet's gone, kill the plastic asap",
            "got pickpocketed in {city} smh",
            "left it at the bar {time}, freeze everything pls",
            "turned the flat upside down, it's just vanished",
        ),
    ),
    Intent(
        name="card_declined",
        standard=(
            "my {card} was declined at {shop}",
            "why was my payment of {amount} to {shop} refused",
            "the shop would not accept my {card} {time}",
            "I tried to pay {amount} and the terminal said declined",
            "my {card} does not work at {shop} although there is money on it",
            "payment rejected at {shop}, please explain",
            "I could not pay with my {card} {time}, it got rejected",
        ),
        chat=(
            "computer says no at {shop}, so embarrassing",
            "tried to tap for {amount} and got a red cross",
            "till keeps bouncing me at {shop}",
            "had to leave my shopping behind cos it wouldn't go through",
        ),
    ),
    Intent(
        name="card_activation",
        standard=(
            "how do I activate my new {card}",
            "my {card} came today, what do I do to start using it",
            "I need to activate the {card} that arrived {time}",
            "the activation of my {card} fails in the app",
            "where can I enter the activation code of the {card}",
            "please switch on my new {card}",
            "is my {card} active already or must I do something first",
        ),
        chat=(
            "got the plastic, now what",
            "how do i make this thing live",
            "fresh one landed on my doormat, it just says inactive",
            "what's the trick to get the new one going",
        ),
    ),
    Intent(
        name="pin_forgotten",
        standard=(
            "I forgot the PIN of my {card}",
            "how can I see my PIN again",
            "I typed the wrong PIN three times and now it is blocked",
            "please send me a PIN reminder",
            "I need to change the PIN of my {card}",
            "what is my PIN, I do not remember it",
            "unblock my PIN please, I entered it wrong {time}",
        ),
        chat=(
            "brain fart, can't remember my 4 digits",
            "fat fingered the code 3x and it locked me out",
            "the secret number, where do i look it up",
            "need a fresh set of digits for the machine",
        ),
    ),
    Intent(
        name="balance_wrong",
        standard=(
            "my balance is not right, {amount} are missing",
            "the money I paid in {time} does not show in my balance",
            "I deposited {amount} in cash and the account has not changed",
            "why is my balance lower than it should be",
            "my cheque of {amount} is not in my account yet",
            "the balance in the app was not updated after {days}",
            "my salary of {amount} does not appear in the balance",
        ),
        chat=(
            "numbers in the app look off by {amount}",
            "put {amount} in at the counter {time} and still see the old total",
            "payday came and went and i'm still skint according to you",
            "app's maths is broken, should have way more",
        ),
    ),
    Intent(
        name="transfer_delayed",
        standard=(
            "my transfer of {amount} to {person} has not arrived",
            "how long does a transfer to {city} take",
            "{person} did not receive the money I sent {time}",
            "the transfer I made {time} is still pending",
            "I sent {amount} {days} ago and it is not there yet",
            "when will my bank transfer to {person} be completed",
            "why is my transfer of {amount} still processing",
        ),
        chat=(
            "{person} says nothing landed yet",
            "sent {amount} over {time} and it's stuck in limbo",
            "spinning wheel on the money i sent for {days}",
            "how slow can it be to get cash over to {city}",
        ),
    ),
    Intent(
        name="transfer_cancel",
        standard=(
            "I want to cancel the transfer of {amount} that I made {time}",
            "please stop my payment to {person}, the account number was wrong",
            "can I revert a transfer that I sent by mistake",
            "I sent {amount} to the wrong person, can you take it back",
            "how do I cancel a scheduled transfer to {person}",
            "I need to undo the transfer to {city}",
            "cancel my transfer of {amount} right away",
        ),
        chat=(
            "oops sent {amount} to the wrong guy, yank it back",
            "hit send too fast, pull it before it goes",
            "wrong sort code, abort abort",
            "is there an undo button for what i just sent {person}",
        ),
    ),
    Intent(
        name="direct_debit_unknown",
        standard=(
            "there is a direct debit of {amount} that I do not recognise",
            "I never set up a direct debit with {shop}",
            "who took {amount} from my account by direct debit {time}",
            "an unknown company collects {amount} every month",
            "I did not agree to the direct debit of {amount}",
            "please explain the direct debit to {shop} on my statement",
            "a direct debit that is not mine left my account {time}",
        ),
        chat=(
            "some rando pulls {amount} off me every month",
            "never signed up for {shop}, why are they eating my money",
            "what's this subscription thing for {amount}, not mine",
            "mystery outfit helped itself to {amount} {time}",
        ),
    ),
    Intent(
        name="fee_charged",
        standard=(
            "why was I charged a fee of {amount}",
            "there is an extra charge of {amount} on my statement",
            "I paid a fee for using my {card} abroad",
            "what is the {amount} fee for the transfer to {person}",
            "you took a fee when I withdrew cash in {city}",
            "I do not understand the account fee from {time}",
            "please refund the fee of {amount} for my payment at {shop}",
        ),
        chat=(
            "you guys nicked {amount} off me for nothing",
            "what's with the sneaky {amount} on top",
            "thought this was free, why am i paying extra",
            "cost me {amount} just to get my own cash in {city}",
        ),
    ),
    Intent(
        name="exchange_rate",
        standard=(
            "what exchange rate do you use for payments in {city}",
            "the exchange rate for my purchase of {amount} was wrong",
            "I got a bad rate when I withdrew money in {city}",
            "how do you calculate the rate from pounds to euros",
            "the currency conversion of {time} does not match the official rate",
            "which rate applies if I exchange {amount} in the app",
            "is your exchange rate better at the weekend",
        ),
        chat=(
            "how many quid per euro do i get rn",
            "conversion for my {city} trip looks like daylight robbery",
            "google says one thing, your numbers for {amount} say another",
            "swapping {amount} to dollars, what would i end up with",
        ),
    ),
    Intent(
        name="cash_withdrawal",
        standard=(
            "the machine in {city} did not give me the {amount} I asked for",
            "I withdrew {amount} and got less cash",
            "the ATM kept my money but my account was debited",
            "my withdrawal of {amount} {time} shows as pending",
            "there is a cash withdrawal of {amount} that I did not make",
            "I could not get cash from the ATM at {shop}",
            "the cash machine shows an error when I withdraw {amount}",
        ),
        chat=(
            "hole in the wall ate my {amount}",
            "asked for {amount}, it spat out half",
            "no notes came out but you still took it",
            "dispenser thing in {city} just froze on me",
        ),
    ),
)

NEW = (
    Intent(
        name="crypto_purchase",
        standard=(
            "can I buy bitcoin with my account",
            "how do I sell the crypto that I hold in the app",
            "I want to put {amount} into ethereum",
            "which coins do you offer and what is the minimum",
            "my bitcoin order of {amount} is not filled",
            "please explain how crypto wallets work here",
        ),
        chat=(
            "wanna ape {amount} into btc",
            "where's the coins tab",
            "my eth bag isn't showing",
            "u guys do doge yet or what",
        ),
    ),
    Intent(
        name="split_bill",
        standard=(
            "how do I split a bill with {person}",
            "I want to share the restaurant bill of {amount} among friends",
            "can I request {amount} from {person} for our dinner in {city}",
            "where do I create a shared expense group",
            "{person} did not get my request to share the costs",
            "split the payment at {shop} between four people",
        ),
        chat=(
            "going dutch with {person}, which button",
            "everyone owes me for dinner, ping em {amount} each",
            "halves on the {shop} shop with {person}?",
            "how do i nag my mates for their share",
        ),
    ),
    Intent(
        name="mortgage_rate",
        standard=(
            "what interest would I pay on a mortgage for a flat in {city}",
            "I want to borrow for a house, which terms do you offer",
            "can I fix the interest of my mortgage for five years",
            "how much mortgage can I get with my salary",
            "I would like to remortgage my house with you",
            "when does the fixed period of my home loan end",
        ),
        chat=(
            "thinking of buying a gaff in {city}, what's the damage per month",
            "how much house can i afford lol",
            "my fix runs out soon, got a better deal",
            "first time buyer here, help",
        ),
    ),
    Intent(
        name="scam_report",
        standard=(
            "someone called me and pretended to be the bank",
            "I got a text with a link that asks for my password, is it from you",
            "I think I was tricked into sending {amount} to a fraudster",
            "a caller wanted the code from my phone {time}",
            "I want to report a phishing message in your name",
            "I gave my details to a fake website of the bank",
        ),
        chat=(
            "dodgy text says it's you, legit?",
            "some dude on the phone wanted my otp",
            "think i got played, {amount} gone to a fake seller",
            "clicked a sketchy link, am i cooked",
        ),
    ),
)

CATALOGUE = {intent.name: intent for intent in (*BASE, *NEW)}
BASE_INTENTS = tuple(intent.name for intent in BASE)
"""The intents of the first data set."""
NEW_INTENTS = tuple(intent.name for intent in NEW)
"""The intents that appear only under drift."""

SLOTS: dict[str, tuple[str, ...]] = {
    "card": ("card", "debit card", "credit card", "bank card", "visa", "mastercard", "replacement card"),
    "amount": ("£20", "£1,250", "45 euros", "$120", "300 pounds", "£8.99", "1500 EUR", "75.50", "two hundred pounds"),
    "time": ("yesterday", "last Monday", "this morning", "two days ago", "on Friday", "last week", "on the 3rd"),
    "days": ("5 days", "a week", "ten days", "almost two weeks", "a month", "three days"),
    "city": ("Lisbon", "Berlin", "Leeds", "Prague", "New York", "Paris", "Glasgow", "Rome"),
    "shop": ("Tesco", "Amazon", "a petrol station", "Ikea", "the pharmacy", "Netflix", "a hotel", "the supermarket"),
    "person": ("my sister", "my landlord", "a friend", "my mum", "a supplier", "my flatmate", "my brother"),
}

OPENERS: dict[Style, tuple[str, ...]] = {
    "standard": ("hello,", "hi,", "good morning,", "dear team,", "excuse me,", "hi there,", "I need help:"),
    "chat": ("yo", "heyyy", "ok so", "ugh", "hiya", "lol", "right,"),
}
CLOSERS: dict[Style, tuple[str, ...]] = {
    "standard": ("please help", "thank you", "can you help me", "what can I do", "I need this soon", "many thanks"),
    "chat": ("any ideas??", "cheers", "kinda urgent", "ty", "not cool", "sort it pls"),
}
# Asides that name other intents' things, so that one keyword does not decide.
ASIDES: dict[Style, tuple[str, ...]] = {
    "standard": (
        "I already checked my balance in the app",
        "my PIN works fine",
        "I have paid no fee for it",
        "I am travelling to {city} soon",
        "I asked about my transfer before",
        "the card itself is not lost",
        "I was told that the exchange rate does not matter here",
        "I have not cancelled anything",
    ),
    "chat": (
        "and no i didn't lose anything",
        "already looked in the app btw",
        "i'm off to {city} tmrw",
        "last guy i talked to only went on about fees",
        "the pin's fine before you ask",
        "my mate has the same thing with a transfer",
    ),
}
