#!/usr/bin/env bash
# Builds an operator from its Go module, with its definitions and its image beside it; what is there is left.
#
#   hack/operator-build.sh FOLDER NAME MODULE PACKAGE CONFIG...
#
# FOLDER holds go.mod and go.sum, which pin every module by hash; CONFIG are folders of the module. Prints the folder of
# the program; beside it:  ../config (what the module installs it with)  ../image.tar (for the node)
set -euo pipefail
folder="$(realpath "$1")" name="$2" module="$3" package="$4"
shift 4
hack="$(cd "$(dirname "$0")" && pwd)"
version="$(awk -v module="$module" '{ for (i = 1; i < NF; i++) if ($i == module) { print substr($(i + 1), 2); exit } }' "$folder/go.mod")"
home="${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/$(basename "$folder")/$version"

"$hack/go-build.sh" "$folder" "$home/bin" "$name=$package"

# Whole or not at all: a folder is made under another name and moved when it is complete. Not all of these are small
# enough for Git, and the module has them under the same hash as the program.
scratch="$(mktemp -d "$home/.part.XXXXXX")"
trap 'rm -rf "$scratch"' EXIT
if [ ! -d "$home/config" ]; then
  source="$(cd "$folder" && GOFLAGS=-mod=readonly GOWORK=off go list -m -f '{{.Dir}}' "$module")"
  for part in "$@"; do
    mkdir -p "$scratch/$(dirname "$part")"
    cp -r "$source/$part" "$scratch/$part"
  done
  chmod -R u+w "$scratch/config"
  mv -T "$scratch/config" "$home/config"
fi
if [ ! -f "$home/image.tar" ]; then
  mkdir "$scratch/root"
  cp "$home/bin/$name" "$scratch/root/manager" # the path that its Deployment calls
  python3 "$hack/kube/node/image.py" "$scratch/image.tar" "localhost/$name:$version" "$scratch/root" \
    --user 65532:65532 --entrypoint /manager >&2
  mv "$scratch/image.tar" "$home/image.tar"
fi
echo "$home/bin"
