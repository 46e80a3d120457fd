"""`hack/images/build.sh`: what it builds again and what not, what it says to wrong input, and that locks agree."""

from __future__ import annotations

import json
import re
import tarfile
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.images.image import PREFIX, ROOT, Image, archives, build, copy_tree, opened

ROLES = ("operator", "receiver", "pipeline-data", "train", "serve", "mlflow")
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


def test_what_did_not_change_is_not_built_again(images: dict[str, Image]) -> None:
    done = build("--archive", *images)
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == [f"{role}: unchanged" for role in images]


def test_a_changed_source_file_is_built_and_costs_one_layer(images: dict[str, Image], tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    project = tree / "pyproject.toml"  # another version, so that this image stands beside the real one
    project.write_text(re.sub(r'(?m)^version = ".*"$', 'version = "0.0.0.dev1"', project.read_text(), count=1))
    of_files = int(datetime.fromisoformat(images["receiver"].created).timestamp())
    epoch = {"SOURCE_DATE_EPOCH": str(of_files), "ARCHIVES": str(tmp_path / "archives")}
    assert "receiver: built" in build("receiver", environment=epoch, tree=tree).stdout
    assert "receiver: unchanged" in build("receiver", environment=epoch, tree=tree).stdout
    changed = tree / "monitoring/alerts/app.py"
    changed.write_text(changed.read_text() + "\n# another line\n")
    assert "receiver: built" in build("receiver", environment=epoch, tree=tree).stdout
    with opened("receiver", "0.0.0.dev1") as image:
        inside = image.path("/opt/tidegate/lib/python3.11/site-packages/monitoring/alerts/app.py")
        assert inside.read_text() == changed.read_text()
        assert image.layers[:-1] == images["receiver"].layers[:-1]
        assert image.layers[-1] != images["receiver"].layers[-1]


def test_an_archive_is_an_oci_layout_with_the_name_that_containerd_takes(
    images: dict[str, Image], version: str
) -> None:
    for role in images:
        archive = archives(version) / f"{role}.tar"
        with tarfile.open(archive) as layout:
            opened_index = layout.extractfile("index.json")
            assert opened_index is not None
            (manifest,) = json.load(opened_index)["manifests"]
        assert manifest["annotations"]["org.opencontainers.image.ref.name"] == f"{PREFIX}/{role}:{version}"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["gateway"], {}, "there is no role 'gateway': the roles are operator receiver"),
        (["--archives"], {}, "what is '--archives'?"),
        (["--push"], {}, "--push wants a registry"),
        (["receiver"], {"BUILDER": "kaniko"}, "BUILDER=kaniko is not known: set it to buildah, podman or docker"),
        (["receiver"], {"BASE_IMAGE": "localhost/not/there:1"}, "receiver was not built"),
    ],
)
def test_wrong_input_is_a_sentence(builder: str, arguments: list[str], environment: dict[str, str], said: str) -> None:
    done = build(*arguments, environment=environment)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_push_and_an_archive_that_fail_are_told(images: dict[str, Image], tmp_path: Path) -> None:
    pushed = build("--push", "127.0.0.1:9/ml", "receiver")
    assert pushed.returncode == 1, pushed.stdout
    assert "receiver was not pushed" in pushed.stderr
    assert "@" not in pushed.stdout, "a name without a digest"
    (tmp_path / "receiver.tar.part").mkdir()
    kept = build("--archive", "receiver", environment={"ARCHIVES": str(tmp_path)})
    assert kept.returncode == 1, kept.stdout
    assert "the archive of receiver was not written" in kept.stderr


@pytest.mark.parametrize("role", ROLES)
def test_a_role_installs_what_the_whole_lock_installs(role: str) -> None:
    whole = _pins(ROOT / "requirements/lock.txt")
    of_role = _pins(ROOT / f"requirements/images/{role}.txt")
    assert of_role
    assert of_role <= whole


@pytest.mark.parametrize("role", ROLES)
def test_a_layer_that_roles_share_is_a_part_of_each_of_them(role: str) -> None:
    containerfile = (ROOT / f"images/{role}.Containerfile").read_text()
    (groups,) = re.findall(r"sh images/steps/packages\.sh (.*)", containerfile)
    *shared, last = groups.split()
    assert last == role
    for group in shared:
        assert _pins(ROOT / f"requirements/images/{group}.txt") <= _pins(ROOT / f"requirements/images/{role}.txt")
    copied = re.findall(r"^COPY --from=build /layers/(\S+)/ /$", containerfile, re.MULTILINE)
    assert copied == [*shared, role, "app"]


def test_containerfiles_differ_in_what_the_role_needs_only() -> None:
    assert len({_common(role) for role in ROLES}) == 1


def _common(role: str) -> str:
    text = (ROOT / f"images/{role}.Containerfile").read_text()
    own = "|".join(
        [
            *(r"^# .*$", r"^COPY requirements/images/kernel\.txt .*$", r"^    sh images/steps/packages\.sh .*$"),
            *(r"^COPY --from=build .*$", r"^CMD .*$", r"^EXPOSE .*$", r"title=.*$", r"description=.*$"),
            *(r"^RUN command -v wget.*\n.*$", r"^ENV (NVIDIA|MLFLOW)(.*\\\n)*.*$"),
        ]
    )
    common = re.sub(own, "", text, flags=re.MULTILINE).replace(role, "ROLE")
    return "\n".join(line for line in common.splitlines() if line)


def _pins(path: Path) -> set[tuple[str, str]]:
    return set(_PIN.findall(path.read_text()))
