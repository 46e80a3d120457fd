#!/usr/bin/env bash
# Builds Kueue, with what its module installs it with, and its image.
set -euo pipefail
cd "$(dirname "$0")"
exec ../operator-build.sh . kueue sigs.k8s.io/kueue sigs.k8s.io/kueue/cmd/kueue config/components config/default
