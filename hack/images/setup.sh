#!/usr/bin/env bash
# What building and trying images on this machine needs, from Debian's packages; nothing where it is there already.
# For tests and CI: root and apt-get, else exit status 3. Elsewhere use the docker or podman that you have.
set -euo pipefail
missing=()
for program in buildah debootstrap runc; do command -v "$program" > /dev/null || missing+=("$program"); done
[ ${#missing[@]} = 0 ] || "$(dirname "$0")/../apt-install.sh" "${missing[@]}"
