"""A small engine that speaks the engines' HTTP contract, and can fail in every way an engine does.

Real engines cost seconds and a model; what the gateway must withstand is HTTP. The e2e test runs the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.ports import free_port

Mode = Literal["ok", "500", "503", "hang", "die", "error-event", "no-done", "html", "refuse", "early-die"]


@dataclass
class EngineBehaviour:
    """What the engine does, by model id (adapter); `default` for all others. Counts what it was asked."""

    modes: dict[str, Mode] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    held: bool = False  # answers wait until this is False again
    silent: bool = False  # as `held`, for probes
    fail_first: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)

    def mode(self, model: str) -> Mode:
        if self.fail_first > 0:
            self.fail_first -= 1
            return "503"
        return self.modes.get(model, "ok")

    def words(self, model: str) -> list[str]:
        return self.answers.get(model, f"answer of {model}").split(" ")


def engine_app(behaviour: EngineBehaviour) -> Starlette:
    async def chat(request: Request) -> Response:
        body = await request.json()
        model = body["model"]
        behaviour.asked.append(body)
        mode = behaviour.mode(model)
        while behaviour.held:
            await asyncio.sleep(0.02)
        if mode in ("500", "503"):
            return JSONResponse({"error": {"message": "broken"}}, status_code=int(mode))
        if mode == "hang":
            await asyncio.sleep(3600)
        if mode == "html":
            return Response("<html>a proxy's page</html>", media_type="text/html")
        if mode == "refuse":
            error = {"message": "too long", "type": "invalid_request_error", "param": "messages"}
            return JSONResponse({"error": error | {"code": "context_length_exceeded"}}, status_code=400)
        words = behaviour.words(model)
        usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
        if body.get("stream"):
            return StreamingResponse(_chunks(body, words, usage, mode), media_type="text/event-stream")
        if mode in ("die", "early-die"):
            return StreamingResponse(_broken(), media_type="application/json")
        choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(words)}, "finish_reason": "stop"}
        return JSONResponse(
            {"id": "x", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
        )

    chats = Route("/v1/chat/completions", chat, methods=["POST"])
    return Starlette(routes=[chats, Route("/v1/models", _models(behaviour), methods=["GET"])])


def _models(behaviour: EngineBehaviour) -> Callable[[Request], Awaitable[Response]]:
    async def models(_: Request) -> Response:
        while behaviour.silent:
            await asyncio.sleep(0.02)
        return JSONResponse({"object": "list", "data": []})

    return models


async def _broken() -> AsyncIterator[bytes]:
    yield b'{"id": '
    raise ConnectionResetError


async def _chunks(body: dict[str, Any], words: list[str], usage: dict[str, int], mode: Mode) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        value = {"id": "e", "object": "chat.completion.chunk", "model": body["model"], "choices": choices}
        return f"data: {json.dumps(value)}\n\n".encode()

    yield chunk({"role": "assistant", "content": ""})
    if mode == "early-die":
        raise ConnectionResetError
    for index, word in enumerate(words):
        if index == 1 and mode == "die":
            raise ConnectionResetError
        if index == 1 and mode == "error-event":
            yield b'data: {"error": {"message": "replica lost", "type": "server_error"}}\n\n'
            return
        yield chunk({"content": word if index == 0 else f" {word}"})
    if mode == "no-done":
        return
    yield chunk({}, "stop")
    if body.get("stream_options", {}).get("include_usage"):
        yield f"data: {json.dumps({'id': 'e', 'choices': [], 'usage': usage})}\n\n".encode()
    yield b"data: [DONE]\n\n"


@contextlib.contextmanager
def running_engine(behaviour: EngineBehaviour, port: int | None = None) -> Iterator[str]:
    """Serves the engine in a thread; yields its base URL."""
    port = port or free_port()  # no outgoing connection takes it while the engine is away
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()  # from now on: who comes before the server runs waits
        config = uvicorn.Config(
            engine_app(behaviour), log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
