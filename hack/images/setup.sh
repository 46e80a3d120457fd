#!/usr/bin/env bash
# What building and trying images on this machine needs, from Debian's packages; nothing where it is there already.
# For tests and CI: root and apt-get, else exit status 3. Elsewhere use the docker or podman that you have.
set -euo pipefail
missing=()
for program in buildah debootstrap runc; do command -v "$program" > /dev/null || missing+=("$program"); done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "error: ${missing[*]} not installed; installing needs root and apt-get." >&2
  exit 3
fi
echo "images: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
