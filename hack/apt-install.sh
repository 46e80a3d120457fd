#!/usr/bin/env bash
# Installs the named Debian packages that are not installed yet. For tests and CI: they may ask for packages at the same
# time, which apt-get refuses, so they take turns here. Exit status 3: this machine cannot (the message says why).
set -euo pipefail
missing=()
for package in "$@"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "not installed: ${missing[*]}; where there is apt-get, as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 3
fi
echo "installing ${missing[*]}" >&2
exec 9> "${TMPDIR:-/tmp}/tidegate-apt.lock"
flock 9
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
# Lists that are only partly renewed are no failure yet.
"${apt[@]}" update >&2 || true
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" > /dev/null
