# What the steps of a build share. Sourced, never run.
set -eu

# A company's certificate authority and package index, where there are such (docs/images.md); never left in a layer.
if [ -s /run/secrets/ca-bundle ]; then
  export SSL_CERT_FILE=/run/secrets/ca-bundle PIP_CERT=/run/secrets/ca-bundle
fi
if [ -s /run/secrets/index-url ]; then
  PIP_INDEX_URL="$(cat /run/secrets/index-url)"
  export PIP_INDEX_URL UV_DEFAULT_INDEX="$PIP_INDEX_URL"
fi
export UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
# The same files give the same bytes: sets of constants are marshalled in the order of their hashes.
export PYTHONHASHSEED=0

TOOLS=/build/tools
HOME_OF_PYTHON=/opt/tidegate
LAYERS=/layers

base_python() {
  command -v python3.11 || command -v python3 || {
    echo "the builder image has no Python: name one with Python 3.11 and its venv module as BUILDER_IMAGE" >&2
    return 1
  }
}
