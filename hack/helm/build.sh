#!/usr/bin/env bash
# Builds Helm for tests from its Go module; a program that is there already is left as it is. Prints its path.
#
# go.mod and go.sum beside it pin every module by hash. About 2 minutes with an empty build cache on 2 cores.
# TIDEGATE_HELM, where it names a Helm 4, is used instead.
set -euo pipefail
cd "$(dirname "$0")"

if [ -n "${TIDEGATE_HELM:-}" ]; then
  case "$("$TIDEGATE_HELM" version --template '{{.Version}}')" in
    v4.*) echo "$TIDEGATE_HELM"; exit 0 ;;
    *) echo "TIDEGATE_HELM=$TIDEGATE_HELM is not Helm 4: name another, or unset it and Helm is built" >&2; exit 4 ;;
  esac
fi

version="$(awk '/helm\.sh\/helm\/v4 v/ { print substr($NF, 2); exit }' go.mod)"
bin="${TIDEGATE_HELM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/helm}/$version/bin"
stamp="helm.sh/helm/v4/internal/version"
LDFLAGS="-X $stamp.version=v$version" ../go-build.sh "$PWD" "$bin" helm=helm.sh/helm/v4/cmd/helm
echo "$bin/helm"
