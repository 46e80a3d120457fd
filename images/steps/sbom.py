"""`sbom.py ROLE PYTHON_SBOM DPKG_STATUS OS_RELEASE OUT`: the SBOM of an image, checked against CycloneDX's schema.

Takes what cyclonedx-py says about the Python environment, and adds the base's Debian packages and its Python.
Runs while an image is built, with the tools of the build (requirements/images/tools.txt).
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def main() -> int:
    role, python_sbom, dpkg_status, os_release, out = sys.argv[1:]
    sbom = json.loads(Path(python_sbom).read_text(encoding="utf-8"))
    release = {
        name: value.strip('"')
        for name, _, value in (line.partition("=") for line in Path(os_release).read_text().splitlines())
    }
    sbom.setdefault("metadata", {})["component"] = {
        "type": "container",
        "bom-ref": f"image-{role}",
        "name": f"tidegate/{role}",
        "version": _version(sbom),
    }
    sbom["components"] = [*sbom.get("components", []), *_base(release, Path(dpkg_status).read_text(encoding="utf-8"))]
    text = json.dumps(sbom, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        sys.stderr.write(f"the SBOM of {role} does not fit CycloneDX 1.6: {problem}\n")
        return 1
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return 0


def _version(sbom: dict[str, Any]) -> str:
    return str(next(item["version"] for item in sbom["components"] if item["name"] == "tidegate"))


def _base(release: dict[str, str], status: str) -> list[dict[str, Any]]:
    system, codename = release.get("ID", "linux"), release.get("VERSION_CODENAME", "")
    python = platform.python_version()
    found: list[dict[str, Any]] = [
        {
            "type": "operating-system",
            "bom-ref": f"os-{system}",
            "name": system,
            "version": release.get("VERSION_ID", ""),
        },
        {
            "type": "platform",
            "bom-ref": f"python-{python}",
            "name": "cpython",
            "version": python,
            "purl": f"pkg:generic/python@{python}",
        },
    ]
    for stanza in sorted(status.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        if "installed" not in fields.get("Status", "").split():
            continue
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        distro = f"&distro={quote(codename)}" if codename else ""
        purl = f"pkg:deb/{system}/{name}@{quote(version, safe='')}?arch={architecture}{distro}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return found


if __name__ == "__main__":
    sys.exit(main())
