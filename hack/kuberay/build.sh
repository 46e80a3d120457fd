#!/usr/bin/env bash
# Builds the KubeRay operator, with its definitions (4 MB) and its image. About 80 s on 2 cores with an empty build cache.
set -euo pipefail
cd "$(dirname "$0")"
module=github.com/ray-project/kuberay/ray-operator
exec ../operator-build.sh . kuberay-operator "$module" "$module" config/crd config/rbac config/manager
