#!/usr/bin/env bash
# Builds Kubeflow Pipelines, Argo Workflows, MinIO and what serves ML Metadata, from Go modules, PyPI and Debian; what is
# there already is left as it is. Prints the folder. Needs Go 1.26, Python 3.11 and, once, root (Debian packages).
#
# 10 minutes on 2 cores when Go's cache is warm from the Kubernetes build, and 1.3 GB.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
source="$KFP_HOME/src"
python="${PYTHON:-python3}"

# Only the first proxy, and no "direct" behind it: a module that it refuses must not be looked for elsewhere. The
# checksum database has no entry for the modules of KFP; their hashes are in go.sum and env.sh.
proxies="$(go env GOPROXY)" || { echo "go is not installed: install Go 1.26 (https://go.dev/dl)" >&2; exit 3; }
export GOPROXY="${proxies%%[,|]*}" GONOSUMDB='github.com/kubeflow/pipelines,github.com/kubeflow/pipelines/*'
export GOWORK=off

# Copies a module's source, whose hash it checks, to a folder where it can be changed.
copy_module() {
  local module="$1" sum="$2" target="$3" answer folder
  answer="$(cd / && go mod download -json "$module")"
  grep -qF "\"Sum\": \"$sum\"" <<< "$answer" || { echo "$module is not what it was: $answer" >&2; exit 1; }
  folder="$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<< "$answer")"
  mkdir -p "$target"
  tar -C "$folder" --exclude=./docs --exclude=./examples --exclude=./sdks --exclude=./test --exclude=./ui -cf - . |
    tar -C "$target" -xf -
  chmod -R u+w "$target"
}

environment() { # FOLDER LOCK: a Python environment of its own
  [ -f "$1/.ready" ] && return
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    { echo "$python is not Python 3.11, the newest that ml-metadata has a wheel for: set PYTHON" >&2; exit 3; }
  "$python" -m venv --clear "$1"
  "$1/bin/python" -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r "$2" >&2
  touch "$1/.ready"
}

# KFP's root module is published for 2.14.3, its modules `api` and `kubernetes_platform` only older. Their Go code is
# made from the message descriptors in the Python packages of 2.14.3. And argoexec's module lacks a file for Linux.
sources() {
  [ -f "$source/.ready" ] && return
  rm -rf --one-file-system "$source"
  mkdir -p "$source"
  cp -r go/. "$source/"
  copy_module "$API_MODULE" "$API_SUM" "$source/kfp/api"
  copy_module "$PLATFORM_MODULE" "$PLATFORM_SUM" "$source/kfp/kubernetes_platform"
  copy_module "$ARGO_MODULE" "$ARGO_SUM" "$source/argo-src"
  cp go/argo-signal/signal_linux.go "$source/argo-src/workflow/executor/os-specific/"
  ../go-build.sh "$source/kfp" "$KFP_BIN" protoc-gen-go=google.golang.org/protobuf/cmd/protoc-gen-go
  environment "$KFP_HOME/protos" locks/protos.txt
  "$KFP_HOME/protos/bin/python" bindings.py "$KFP_BIN/protoc-gen-go" "$source/kfp" >&2
  touch "$source/.ready"
}

programs() {
  local backend=github.com/kubeflow/pipelines/backend/src
  ../go-build.sh "$source/kfp" "$KFP_BIN" \
    "apiserver=$backend/apiserver" \
    "driver=$backend/v2/cmd/driver" \
    "launcher-v2=$backend/v2/cmd/launcher-v2" \
    "persistence_agent=$backend/agent/persistence" \
    "swf_controller=$backend/crd/controller/scheduledworkflow"
  local argo=github.com/argoproj/argo-workflows/v3
  LDFLAGS="-X $argo.version=$ARGO_VERSION" ../go-build.sh "$source/argo" "$KFP_BIN" \
    "workflow-controller=$argo/cmd/workflow-controller" "argoexec=$argo/cmd/argoexec"
  ../minio/build.sh > /dev/null
}

# One image for all of them: servers, and what Argo and KFP put beside a step.
image() {
  [ -f "$KFP_HOME/image.tar" ] && return
  scratch="$(mktemp -d "$KFP_HOME/.part.XXXXXX")"
  trap 'rm -rf --one-file-system "$scratch"' EXIT
  mkdir -p "$scratch/root/bin" "$scratch/root/etc" "$scratch/root/tmp"
  chmod 1777 "$scratch/root/tmp"
  echo 'root:x:0:0:root:/:/bin/false' > "$scratch/root/etc/passwd"
  for name in apiserver driver launcher-v2 persistence_agent swf_controller workflow-controller argoexec; do
    ln "$KFP_BIN/$name" "$scratch/root/bin/" 2> /dev/null || cp "$KFP_BIN/$name" "$scratch/root/bin/"
  done
  python3 ../kube/node/image.py "$scratch/image.tar" "localhost/kfp:$KFP_VERSION" "$scratch/root" >&2
  mv "$scratch/image.tar" "$KFP_HOME/image.tar" # whole or not at all
}

mkdir -p "$KFP_BIN"
exec 9> "$KFP_HOME/.lock" && flock 9 # a second build waits, and then finds everything there
../apt-install.sh mariadb-server-core mariadb-client-core
sources
programs
environment "$KFP_HOME/metadata" locks/metadata.txt
image
echo "$KFP_HOME"
