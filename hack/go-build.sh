#!/usr/bin/env bash
# Builds programs of a Go module that go.mod and go.sum pin; what is there already is left as it is.
#
#   hack/go-build.sh MODULE_FOLDER OUT_FOLDER NAME=PACKAGE...        LDFLAGS="-X …" for stamps
#
# Exit status 3: Go is not installed. All builds use the same flags: others would fill a second build cache of gigabytes.
set -euo pipefail
module="$1" out="$2"
shift 2
missing=()
for program in "$@"; do [ -x "$out/${program%%=*}" ] || missing+=("$program"); done
[ "${#missing[@]}" -gt 0 ] || exit 0
command -v go > /dev/null || { echo "go is not installed: install Go 1.26 (https://go.dev/dl)" >&2; exit 3; }

mkdir -p "$out"
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
cd "$module"
for program in "${missing[@]}"; do
  name="${program%%=*}"
  echo "building $name" >&2
  go build -ldflags="-s -w ${LDFLAGS:-}" -o "$out/$name.part.$$" "${program#*=}" >&2
  mv "$out/$name.part.$$" "$out/$name" # whole or not at all, also when two builds run
done
