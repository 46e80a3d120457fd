#!/bin/sh
# Step 1: uv by its locked hash, and with it what builds the wheel and writes the SBOM. Nothing of it reaches an image.
. "$(dirname "$0")/common.sh"

"$(base_python)" -m venv /build/uv
/build/uv/bin/python -m pip install -q --disable-pip-version-check --no-cache-dir --require-hashes -r requirements/uv.txt
/build/uv/bin/uv venv -q --no-project --python "$(base_python)" "$TOOLS"
/build/uv/bin/uv pip sync -q --python "$TOOLS" --require-hashes requirements/images/tools.txt
