#!/bin/sh
# Step 3: app.sh ROLE: tidegate's own wheel, without dependencies, and the SBOM of all that is installed.
. "$(dirname "$0")/common.sh"
uv=/build/uv/bin/uv

rm -rf /build/dist
"$uv" build -q --wheel --no-build-isolation --python "$TOOLS" --out-dir /build/dist .
"$uv" pip install -q --python "$HOME_OF_PYTHON" --no-deps --offline --no-index --find-links /build/dist tidegate
sh images/steps/layer.sh app
"$uv" pip check -q --python "$HOME_OF_PYTHON"

"$TOOLS/bin/cyclonedx-py" environment --output-reproducible --of JSON --sv 1.6 -o /build/python.cdx.json \
  "$HOME_OF_PYTHON/bin/python"
"$TOOLS/bin/python" images/steps/sbom.py "$1" /build/python.cdx.json /build/runtime/status /build/runtime/os-release \
  "$LAYERS/app$HOME_OF_PYTHON/sbom.cdx.json"
