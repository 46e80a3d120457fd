#!/usr/bin/env bash
# Builds the KubeRay operator from its Go module, with its definitions and its image beside it; what is there is left.
# Prints the folder of the program; beside it:  ../config (definitions, RBAC, Deployment)  ../image.tar (for the node)
#
# go.mod and go.sum beside it pin every module by hash. About 80 s on 2 cores with an empty build cache.
set -euo pipefail
cd "$(dirname "$0")"
module=github.com/ray-project/kuberay/ray-operator
version="$(awk -v module="$module" '$1 == "require" && $2 == module { print substr($3, 2) }' go.mod)"
home="${TIDEGATE_KUBERAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/kuberay}/$version"

../go-build.sh . "$home/bin" "kuberay-operator=$module"

# Whole or not at all: a folder is made under another name and moved when it is complete. Not all of these are small
# enough for Git (4 MB of definitions), and the module has them under the same hash as the program.
scratch="$(mktemp -d "$home/.part.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
if [ ! -d "$home/config" ]; then
  folder="$(GOFLAGS=-mod=readonly GOWORK=off go list -m -f '{{.Dir}}' "$module")"
  mkdir "$scratch/config"
  cp -r "$folder/config/crd" "$folder/config/rbac" "$folder/config/manager" "$scratch/config/"
  chmod -R u+w "$scratch/config"
  mv -T "$scratch/config" "$home/config"
fi
if [ ! -f "$home/image.tar" ]; then
  mkdir "$scratch/root"
  cp "$home/bin/kuberay-operator" "$scratch/root/manager" # the path that its Deployment calls
  python3 ../kube/node/image.py "$scratch/image.tar" "localhost/kuberay-operator:$version" "$scratch/root" \
    --user 65532:65532 --entrypoint /manager >&2
  mv "$scratch/image.tar" "$home/image.tar"
fi
echo "$home/bin"
