#!/usr/bin/env bash
# Builds programs for the chart's tests from Go modules; what is there already is left as it is. Prints one's path.
#
#   hack/helm/build.sh           Helm; TIDEGATE_HELM, where it names a Helm 4, is used instead
#   hack/helm/build.sh glua      the Lua that Argo CD runs health checks with
#
# go.mod and go.sum beside it pin every module by hash. About 2 minutes with an empty build cache on 2 cores.
set -euo pipefail
cd "$(dirname "$0")"

program="${1:-helm}"
if [ "$program" = helm ] && [ -n "${TIDEGATE_HELM:-}" ]; then
  case "$("$TIDEGATE_HELM" version --template '{{.Version}}')" in
    v4.*) echo "$TIDEGATE_HELM"; exit 0 ;;
    *) echo "TIDEGATE_HELM=$TIDEGATE_HELM is not Helm 4: name another, or unset it and Helm is built" >&2; exit 4 ;;
  esac
fi

version="$(awk '/helm\.sh\/helm\/v4 v/ { print substr($NF, 2); exit }' go.mod)"
bin="${TIDEGATE_HELM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/helm}/$version/bin"
stamp="helm.sh/helm/v4/internal/version"
case "$program" in
  helm) LDFLAGS="-X $stamp.version=v$version" ../go-build.sh "$PWD" "$bin" helm=helm.sh/helm/v4/cmd/helm ;;
  glua) ../go-build.sh "$PWD" "$bin" glua=github.com/yuin/gopher-lua/cmd/glua ;;
  *) echo "no program $program: helm or glua" >&2; exit 2 ;;
esac
echo "$bin/$program"
