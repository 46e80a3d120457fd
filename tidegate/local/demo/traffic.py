"""Traffic as applications make it: the official `openai` client, many users, labels that arrive later.

No request is retried by the client here: one that fails is counted as failed. Labels are sent again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import httpx

from components.datasets.rows import TrafficMessage

STREAM_EVERY = 5
"""Every fifth request is streamed, so that both ways of answering are under traffic."""

_LABEL_BATCH_SECONDS = 0.5
_REQUEST_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back for one request."""

    request_id: str
    version: str
    text: str
    intent: str
    seconds: float
    error: str | None = None

    @property
    def correct(self) -> bool:
        return self.error is None and self.text.strip() == self.intent


@dataclass
class Tally:
    """Everything sent so far. Appended to by one thread, read by another."""

    answers: list[Answer] = field(default_factory=list)
    labels_refused: int = 0

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.error is not None]

    def accuracy(self, start: int = 0, version: str | None = None) -> float:
        """Share of right answers from the `start`-th on; 0 when there were none."""
        chosen = [a for a in self.answers[start:] if version is None or a.version == version]
        return sum(a.correct for a in chosen) / len(chosen) if chosen else 0.0


class TrafficDriver:
    """Sends messages through the gateway with a number of concurrent users."""

    def __init__(
        self,
        gateway_url: str,
        api_key: str,
        model: str,
        *,
        label_key: str,
        concurrency: int = 12,
        label_delay: float = 1.0,
    ) -> None:
        self._url = gateway_url
        self._key = api_key
        self._label_key = label_key
        self._model = model
        self._concurrency = concurrency
        self._label_delay = label_delay
        self.tally = Tally()

    def send(self, messages: Iterable[TrafficMessage]) -> int:
        """Sends all messages and their labels; returns how many answers there were before."""
        before = len(self.tally.answers)
        asyncio.run(self.run(iter(messages), threading.Event()))
        return before

    def background(self, messages: Iterable[TrafficMessage], per_second: float | None = None) -> BackgroundTraffic:
        """Sends messages until told to stop, at most so many per second; use as a context manager."""
        return BackgroundTraffic(self, messages, per_second)

    def serves(self) -> bool:
        """Whether the gateway lists the model, which it does once it has its routing."""
        try:
            response = httpx.get(
                f"{self._url}/v1/models/{self._model}", headers=_bearer(self._key), timeout=5.0, trust_env=False
            )
        except httpx.HTTPError:
            return False
        return response.is_success

    async def run(
        self, messages: Iterator[TrafficMessage], stop: threading.Event, per_second: float | None = None
    ) -> None:
        """Sends until the messages end or `stop` is set, then the labels that are left."""
        from openai import AsyncOpenAI  # noqa: PLC0415 - half a second to import, and only the demo sends traffic

        pending: deque[tuple[float, str, str]] = deque()
        client = AsyncOpenAI(base_url=f"{self._url}/v1", api_key=self._key, max_retries=0, timeout=_REQUEST_SECONDS)
        async with client, httpx.AsyncClient(base_url=self._url, timeout=_REQUEST_SECONDS, trust_env=False) as http:
            users = self._concurrency if per_second is None else 1
            gap = 0.0 if per_second is None else 1.0 / per_second
            senders = [self._user(client, messages, pending, stop, gap) for _ in range(users)]
            sending = asyncio.gather(*senders)
            while not sending.done():
                await asyncio.sleep(_LABEL_BATCH_SECONDS)
                await self._label(http, pending, time.monotonic())
            await sending
            await self._label(http, pending, float("inf"))

    async def _user(
        self,
        client: object,
        messages: Iterator[TrafficMessage],
        pending: deque[tuple[float, str, str]],
        stop: threading.Event,
        gap: float,
    ) -> None:
        for message in messages:
            if stop.is_set():
                return
            answer = await self._ask(client, message, stream=len(self.tally.answers) % STREAM_EVERY == 0)
            self.tally.answers.append(answer)
            if answer.error is None:
                pending.append((time.monotonic() + self._label_delay, answer.request_id, message.intent))
            if gap:
                await asyncio.sleep(gap)

    async def _ask(self, client: object, message: TrafficMessage, *, stream: bool) -> Answer:
        from openai import APIError, AsyncOpenAI  # noqa: PLC0415 - see _run

        assert isinstance(client, AsyncOpenAI)
        since = time.monotonic()
        try:
            raw = await client.chat.completions.with_raw_response.create(
                model=self._model,
                messages=[{"role": "user", "content": message.text}],
                user=message.user,
                stream=stream,
            )
            parsed = raw.parse()
            if hasattr(parsed, "choices"):
                text = parsed.choices[0].message.content or ""
            else:
                text = "".join([chunk.choices[0].delta.content or "" async for chunk in parsed if chunk.choices])
        except APIError as error:
            return Answer(
                request_id="",
                version="",
                text="",
                intent=message.intent,
                seconds=time.monotonic() - since,
                error=f"{type(error).__name__}: {error.message}",
            )
        return Answer(
            request_id=raw.headers.get("x-request-id", ""),
            version=raw.headers.get("x-tidegate-version", ""),
            text=text,
            intent=message.intent,
            seconds=time.monotonic() - since,
        )

    async def _label(self, http: httpx.AsyncClient, pending: deque[tuple[float, str, str]], now: float) -> None:
        due = []
        while pending and pending[0][0] <= now:
            _, request_id, label = pending.popleft()
            due.append({"request_id": request_id, "label": label})
        if not due:
            return
        try:
            response = await http.post("/v1/feedback", json=due, headers=_bearer(self._label_key))
        except httpx.TransportError:  # a connection that broke: a label counts once, however often it is sent
            response = await http.post("/v1/feedback", json=due, headers=_bearer(self._label_key))
        if not response.is_success:
            self.tally.labels_refused += len(due)


class BackgroundTraffic:
    """Traffic that goes on while something else is watched."""

    def __init__(
        self, driver: TrafficDriver, messages: Iterable[TrafficMessage], per_second: float | None = None
    ) -> None:
        self._driver = driver
        self._per_second = per_second
        self._messages = iter(messages)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="traffic", daemon=True)

    def __enter__(self) -> BackgroundTraffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_REQUEST_SECONDS)
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            asyncio.run(self._driver.run(self._messages, self._stop, self._per_second))
        except BaseException as error:
            self._error = error


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
