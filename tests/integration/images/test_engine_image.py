"""The image of the engines, as a restricted pod runs it, answers with the small model (TIDEGATE_IMAGES=serve)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.integration.images.image import Image
from tests.ports import free_port
from tidegate.adapters.base_model import resolve_base_model
from tidegate.settings import load_settings

_ASK = """if True:
    import json, os, sys
    os.environ["RAY_AUTH_MODE"] = "disabled"  # as the operator's pods have it where no token is named
    import httpx, ray
    from ray import serve
    from serving.engines.transformers_app import build
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    engine = build({"base_uri": "/var/lib/tidegate/base", "base_model_id": "small"})
    serve.run(engine, name="small", route_prefix="/small")
    body = {"model": "small", "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 4, "temperature": 0}
    url = f"http://127.0.0.1:{sys.argv[1]}/small/v1/chat/completions"
    answer = httpx.post(url, json=body, timeout=120, trust_env=False)
    print("ANSWER", json.dumps(answer.json()))
"""


def test_it_answers(images: dict[str, Image], tmp_path: Path) -> None:
    if "serve" not in images:
        pytest.skip('the image of the engines takes 25 GB of disk to build: TIDEGATE_IMAGES="serve"')
    base = resolve_base_model("builtin:smollm2-135m-instruct", load_settings().cache).folder
    home = tmp_path / "engine" / "empty-1"  # what the pod sees as /var/lib/tidegate
    shutil.copytree(base, home / "base")
    done = images["serve"].run(tmp_path / "engine", ["python", "-c", _ASK, str(free_port())], host_network=True)
    said = next((line for line in done.stdout.splitlines() if line.startswith("ANSWER ")), "")
    assert said, done.stdout[-2000:] + done.stderr[-4000:]
    answer = json.loads(said.removeprefix("ANSWER "))
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] <= 4
