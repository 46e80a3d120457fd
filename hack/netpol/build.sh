#!/usr/bin/env bash
# Builds what enforces NetworkPolicies on the one-node cluster; what is there already is left as it is. Prints its path.
#
# go.mod and go.sum beside it pin every module by hash; client-go is KubeRay's, so that their builds share it. About 30 s
# on 2 cores with an empty build cache.
set -euo pipefail
cd "$(dirname "$0")"
sources="$(cat go.mod go.sum main.go | sha256sum | cut -c 1-12)"
bin="${TIDEGATE_NETPOL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/netpol}/$sources"
../apt-install.sh iptables ipset
../go-build.sh . "$bin" netpol=. >&2
echo "$bin/netpol"
