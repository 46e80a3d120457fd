#!/usr/bin/env bash
# Prints everything that Kueue consists of on the node.
set -euo pipefail
cd "$(dirname "$0")"
. ../kube/node/env.sh
home="$(dirname "$(./build.sh)")"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cp -r kustomization.yaml "$home/config" "$scratch/"
(cd "$scratch" && kubectl kustomize .) | sed "s#image: .*kueue.*#image: localhost/kueue:$(basename "$home")#; s#image: controller:.*#image: localhost/kueue:$(basename "$home")#"
