#!/bin/sh
# Step 2: packages.sh GROUP… ROLE: the locked packages, each group and then the rest of the role in a folder of its own
# under /layers, so that images share the layers of their groups. A group's bytes depend on its lock alone.
. "$(dirname "$0")/common.sh"
uv=/build/uv/bin/uv

"$uv" venv -q --no-project --python "$(base_python)" "$HOME_OF_PYTHON"
rm -rf "$HOME_OF_PYTHON"/bin/activate* "$HOME_OF_PYTHON"/bin/*.bat "$HOME_OF_PYTHON"/bin/deactivate* \
  "$HOME_OF_PYTHON/.gitignore" "$HOME_OF_PYTHON/CACHEDIR.TAG"
mkdir -p "$LAYERS"
: > /build/seen
# Where only a source archive is published (KFP's client), setuptools of the lock builds it; there is no C compiler here.
for group in "$@"; do
  "$uv" pip install -q --python "$HOME_OF_PYTHON" --no-deps --require-hashes \
    --build-constraints requirements/images/tools.txt -r "requirements/images/$group.txt"
  sh images/steps/layer.sh "$group"
done
"$uv" pip check -q --python "$HOME_OF_PYTHON"
