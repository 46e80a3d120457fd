"""What the gateway adds to an engine: requests/s and latency through it against asking the engine directly.

    python -m tests.bench.gateway_load [--requests 2000]

The engine is the tests' stand-in in a process of its own, which answers at once: what remains is the gateway's own
work (key, validation, routing, prompt, evidence, log). Prints the table of docs/benchmarks/gateway.md.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.integration.gateway.conftest import make_platform
from tests.integration.gateway.engine import EngineBehaviour, running_engine
from tests.ports import free_port
from tests.unit.gateway.tables import MODEL

MESSAGES = [{"role": "user", "content": "I am still waiting for my card, where is it?"}]
WARM_UP = 50


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000, help="requests per measurement")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        engine = multiprocessing.get_context("spawn").Process(target=_serve_engine, args=(port,), daemon=True)
        engine.start()
        platform = make_platform(Path(home), f"http://127.0.0.1:{port}", EngineBehaviour())
        try:
            platform.start()
            platform.route()
            platform.wait(lambda: platform.process.poll() is None and _ready(platform.url))
            platform.ask()
            platform.wait(lambda: any((platform.home / "inference-log").rglob("part-*")))  # its first write is slow
            _measure_all(platform.engine_url, platform.url, platform.key, options)
        finally:
            platform.stop()
            engine.terminate()
            engine.join()


def _measure_all(engine: str, gateway: str, key: str, options: argparse.Namespace) -> None:
    write = sys.stdout.write
    write("| concurrency | stream | direct requests/s | gateway requests/s | ratio | direct p50 / p99 ms | "
          "gateway p50 / p99 ms | added p50 ms |\n|---|---|---|---|---|---|---|---|\n")  # fmt: skip
    for concurrency in options.concurrency:
        for stream in (False, True):
            direct = asyncio.run(
                _load(engine, "banking-intent/1", "none", concurrency, options.requests, stream=stream)
            )
            through = asyncio.run(_load(gateway, MODEL, key, concurrency, options.requests, stream=stream))
            (rate, p50, p99), (gateway_rate, gateway_p50, gateway_p99) = direct, through
            write(
                f"| {concurrency} | {'yes' if stream else 'no'} | {rate:.0f} | {gateway_rate:.0f} | "
                f"{gateway_rate / rate:.2f} | {p50:.1f} / {p99:.1f} | {gateway_p50:.1f} / {gateway_p99:.1f} | "
                f"{gateway_p50 - p50:.1f} |\n"
            )


async def _load(
    url: str, model: str, key: str, concurrency: int, requests: int, *, stream: bool
) -> tuple[float, float, float]:
    """Requests/s, median and 99th percentile of latency in milliseconds. Every answer must be whole."""
    body = {"model": model, "messages": MESSAGES, "max_tokens": 8, "stream": stream}
    seconds: list[float] = []
    todo = iter(range(requests + WARM_UP))
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False) as client:

        async def worker() -> None:
            for _ in todo:
                started = time.perf_counter()
                response = await client.post(f"{url}/v1/chat/completions", json=body)
                seconds.append(time.perf_counter() - started)
                if response.status_code != 200 or (stream and "[DONE]" not in response.text):
                    raise RuntimeError(f"{url} answered {response.status_code}: {response.text[:200]}")

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrency)))
        wall = time.perf_counter() - started
    measured = sorted(seconds[WARM_UP:])
    rate = len(seconds) / wall
    return rate, measured[len(measured) // 2] * 1000, measured[int(len(measured) * 0.99)] * 1000


def _serve_engine(port: int) -> None:
    with running_engine(EngineBehaviour(), port=port):
        threading.Event().wait()


def _ready(gateway: str) -> bool:
    return httpx.get(f"{gateway}/readyz").status_code == 200


if __name__ == "__main__":
    main()
