"""What is in an image, what is not, and that it runs as a restricted pod runs it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.images.image import PYTHON, ROOT, USER, Image, archives
from tests.ports import free_port

# In each bin folder of a base or an environment; a name with a version behind it counts, too.
_COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "ld", "as", "make", "cmake", "cargo", "rustc", "go")
_INSTALLERS = ("pip", "pip3", "uv", "uvx", "setuptools")

# MB of files, base and all: measured (docs/images.md), and a tenth more. Who adds to an image sees it here.
_LIMIT_MB = {
    "receiver": 340, "operator": 990, "mlflow": 1190, "pipeline-data": 1680, "serve": 6420, "train": 7470
}  # fmt: skip

_ENTRIES = {
    "operator": [
        "serving.operator.__main__",
        "serving.gateway.__main__",
        "monitoring.scoring.__main__",
        "feast",
        "redis",
    ],
    "receiver": ["monitoring.alerts.__main__", "kfp", "psycopg", "kubernetes"],
    "pipeline-data": [
        *("components._step", "components.prepare.logic", "components.features.logic", "components.drift_check.logic"),
        *("kfp.dsl.executor_main", "evidently", "sklearn", "datasketch", "redis"),
    ],
    "train": [
        *("components.fine_tune.logic", "components.fine_tune.loop", "components.evaluate.logic"),
        *("components.register.logic", "components.register.model", "boto3"),
    ],
    "serve": ["serving.engines.transformers_app", "serving.engines.loading", "gguf", "s3fs"],
    "mlflow": ["mlflow.server", "psycopg", "psycopg2", "boto3"],
}
_ABSENT = {
    "operator": ["torch", "ray", "transformers", "mlflow", "sklearn"],
    "receiver": ["torch", "ray", "transformers", "mlflow", "pandas", "pyarrow", "feast"],
    "pipeline-data": ["torch", "ray", "transformers"],
    "train": ["evidently", "kfp", "kopf"],
    "serve": ["feast", "mlflow", "kopf", "kfp", "peft"],
    "mlflow": ["torch", "ray", "kopf", "feast", "kubernetes"],
}


def test_it_says_who_it_is(image: Image, role: str, version: str) -> None:
    labels = image.config["Labels"]
    assert image.config["User"] == f"{USER}:{USER}"
    assert image.config["WorkingDir"] == "/home/tidegate"
    assert labels["dev.tidegate.role"] == role
    prefix = "org.opencontainers.image."
    assert labels[prefix + "version"] == version
    assert len(labels[prefix + "revision"]) == 40
    assert labels[prefix + "licenses"] == "Apache-2.0"
    assert labels[prefix + "title"]
    assert labels[prefix + "created"] <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert labels[prefix + "base.name"] == "localhost/tidegate/base:bookworm"


def test_it_imports_what_its_role_runs(image: Image, role: str, tmp_path: Path) -> None:
    code = f"import {', '.join(_ENTRIES[role])}"
    done = image.run(tmp_path / role, ["python", "-c", code])
    assert done.returncode == 0, done.stderr


def test_it_holds_nothing_that_another_role_needs(image: Image, role: str, tmp_path: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {_ABSENT[role]!r} if u.find_spec(n)])"
    assert image.run(tmp_path / role, ["python", "-c", code]).stdout.strip() == "[]"


def test_it_runs_without_rights_on_a_read_only_root(image: Image, role: str, tmp_path: Path) -> None:
    code = """if True:
        import errno, os, pathlib
        assert os.getuid() == os.getgid() == 65532, os.getuid()
        for folder in ("/tmp", os.environ["TIDEGATE_HOME"]):
            pathlib.Path(folder, "mine").write_text("x")
        for folder in (os.environ["HOME"], "/", "/opt/tidegate", "/etc"):
            try:
                pathlib.Path(folder, "mine").write_text("x")
            except OSError as error:
                assert error.errno == errno.EROFS, (folder, error)
            else:
                raise AssertionError(folder)
        from tidegate.settings import load_settings
        print(load_settings().home)
    """
    done = image.run(tmp_path / role, ["python", "-c", code])
    assert (done.returncode, done.stdout.strip()) == (0, "/var/lib/tidegate"), done.stderr


def test_nothing_of_its_making_is_left(image: Image) -> None:
    programs = {
        path.name
        for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/tidegate/bin")
        for path in image.path(folder).glob("*")
    }
    left = {name for name in programs if name.partition("-")[0] in {*_COMPILERS, *_INSTALLERS}}
    assert left == set()
    for folder in ("/src", "/build", "/layers", "/root/.cache", "/home/tidegate/.cache", "/run/secrets"):
        assert not image.path(folder).exists(), folder
    assert list(image.path("/tmp").iterdir()) == []  # noqa: S108
    assert list(image.path("/var/cache").rglob("*.deb")) == []
    open_to_all = [
        path for path in image.path("/opt/tidegate").rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022
    ]
    assert open_to_all == []


def test_its_bytecode_is_there_and_is_not_checked_against_sources(image: Image) -> None:
    packages = image.path("/opt/tidegate/lib/python3.11/site-packages")
    for source in (packages / "tidegate").rglob("*.py"):
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
        assert compiled.read_bytes()[4:8] == (1).to_bytes(4, "little"), source  # PEP 552: hash-based, unchecked


def test_the_data_files_of_the_packages_are_in_it(image: Image) -> None:
    packages = image.path("/opt/tidegate/lib/python3.11/site-packages")
    for name in ("tidegate/migrations/script.py.mako", "pipelines/compiled/fine_tune.yaml", "tidegate/py.typed"):
        assert (packages / name).read_bytes() == (ROOT / name).read_bytes()


def test_its_sbom_lists_what_is_installed_and_nothing_else(
    image: Image, role: str, version: str, tmp_path: Path
) -> None:
    text = image.path(image.config["Labels"]["dev.tidegate.sbom"]).read_text(encoding="utf-8")
    assert text == (archives(version) / f"{role}.cdx.json").read_text(encoding="utf-8")
    sbom = json.loads(text)
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["name"] == f"tidegate/{role}"
    code = "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
    installed = json.loads(image.run(tmp_path / role, [PYTHON, "-c", code]).stdout)
    listed = {(item["name"], item["version"]) for item in sbom["components"] if "pkg:pypi/" in item.get("purl", "")}
    # Our own wheel has no address anywhere, so it is listed without one.
    listed |= {(item["name"], item["version"]) for item in sbom["components"] if item["name"] == "tidegate"}
    assert listed == {(name, number) for name, number in installed}
    debian = subprocess.run(
        [
            "dpkg-query",
            "--admindir",
            image.path("/var/lib/dpkg"),
            "-W",
            "-f",
            "${db:Status-Status} ${Package} ${Version}\n",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    packages = {tuple(line.split()[1:]) for line in debian.splitlines() if line.startswith("installed ")}
    assert packages == {
        (item["name"], item["version"]) for item in sbom["components"] if item.get("purl", "").startswith("pkg:deb/")
    }


def test_it_has_the_size_that_is_written_down(image: Image, role: str) -> None:
    listed = subprocess.run(["du", "-s", "--block-size=MB", image.root], capture_output=True, text=True, check=True)
    size = int(listed.stdout.split("MB")[0])
    assert size <= _LIMIT_MB[role], f"{role} has {size} MB"
    assert size >= _LIMIT_MB[role] * 0.75, f"{role} has only {size} MB: lower its limit and docs/images.md"


def test_roles_share_the_layers_of_what_they_share(images: dict[str, Image]) -> None:
    # Of each: the base, the user, then the groups in the order of its Containerfile.
    base_user_kernel = {tuple(image.layers[:3]) for role, image in images.items() if role not in {"train", "serve"}}
    assert len(base_user_kernel) == 1
    assert (
        len({image.layers[3] for role, image in images.items() if role in {"operator", "mlflow", "pipeline-data"}}) == 1
    )
    if "train" in images:
        assert images["train"].layers[:5] == images["serve"].layers[:5]


def test_the_mlflow_image_serves_a_registry(images: dict[str, Image], tmp_path: Path) -> None:
    port = free_port()
    command, identity = images["mlflow"].bundle(
        tmp_path / "server",
        [
            *("python", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", "sqlite:////tmp/mlflow.db", "--default-artifact-root", "/tmp/artifacts"),  # noqa: S108
        ],
        host_network=True,
    )
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        answer = None
        while answer is None and time.monotonic() < deadline and server.poll() is None:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/api/2.0/mlflow/registered-models/search", trust_env=False)
            except httpx.TransportError:
                time.sleep(0.5)
        assert answer is not None, (tmp_path / "log").read_text()
        assert answer.status_code == 200, answer.text
    finally:
        subprocess.run(["runc", "delete", "--force", identity], capture_output=True, check=False)
        server.wait(timeout=30)


@pytest.mark.parametrize("target", ["postgresql://u:p@127.0.0.1:9/x", "postgresql+psycopg://u:p@127.0.0.1:9/x"])
def test_the_mlflow_image_has_both_postgresql_drivers(images: dict[str, Image], target: str, tmp_path: Path) -> None:
    code = f"import sqlalchemy; print(sqlalchemy.create_engine({target!r}).dialect.driver)"
    done = images["mlflow"].run(tmp_path / "driver", ["python", "-c", code])
    assert done.stdout.strip() in {"psycopg", "psycopg2"}, done.stderr
