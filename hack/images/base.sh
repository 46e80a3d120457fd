#!/usr/bin/env bash
# A base for images where no registry is in reach: Debian 12 with Python 3.11 by debootstrap, from Debian's packages.
# Makes localhost/tidegate/base:bookworm and localhost/tidegate/base-build:bookworm (with the venv module); does nothing
# where both are there (--force makes them anew). Needs root and debootstrap.
set -euo pipefail
. "$(dirname "$0")/common.sh"
suite=bookworm
base="localhost/tidegate/base:$suite" builder="localhost/tidegate/base-build:$suite"

force=0
case "${1:-}" in
  "") ;;
  --force) force=1 ;;
  *) die "what is '$1'? The only argument is --force." ;;
esac
choose_builder
if [ $force = 0 ] && image_id "$base" > /dev/null && image_id "$builder" > /dev/null; then
  exit 0
fi
[ "$(id -u)" = 0 ] || die "debootstrap needs root: run this as root, or name your own BASE_IMAGE (docs/images.md)."
command -v debootstrap > /dev/null || die "debootstrap is not installed: apt-get install -y --no-install-recommends debootstrap"

work="$(mktemp -d)"
trap 'rm -rf --one-file-system "$work"' EXIT
echo "base: debootstrap $suite (about a minute)"
debootstrap --variant=minbase --include=ca-certificates,python3.11-minimal,libpython3.11-stdlib,libgomp1 \
  "$suite" "$work/rootfs" > "$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die "debootstrap failed (its last lines are above)."; }
# As Debian's slim images: documents (not the licences), caches and logs stay out.
find "$work/rootfs/usr/share/doc" -type f ! -name copyright -delete
rm -rf "$work/rootfs"/usr/share/{man,info,locale,groff,lintian,linda} "$work/rootfs"/var/{cache,log,lib/apt/lists}/* \
  "$work/rootfs"/etc/{hostname,resolv.conf}
mkdir -p "$work/rootfs/var/cache/apt/archives/partial" "$work/rootfs/var/lib/apt/lists/partial"
tar -C "$work/rootfs" --one-file-system --numeric-owner --sort=name -cf "$work/base.tar" .
printf 'FROM scratch\nADD base.tar /\nCMD ["/bin/bash"]\n' > "$work/base.Containerfile"
printf 'FROM %s\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3.11-venv\n' "$base" \
  > "$work/builder.Containerfile"
build_image "$base" "$work/base.Containerfile" "$work"
build_image "$builder" "$work/builder.Containerfile" "$work"
echo "base: $base and $builder"
