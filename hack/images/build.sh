#!/usr/bin/env bash
# Builds tidegate's images (docs/images.md). An image whose sources, locks and base did not change is not built again.
#
#   hack/images/build.sh [--archive] [--push REGISTRY] [--force] [ROLE…]
#
#   ROLE             operator receiver pipeline-data train serve mlflow; without one: all
#   --archive        also an OCI archive per role in ARCHIVES
#   --push REGISTRY  also as REGISTRY/tidegate/ROLE:VERSION; prints the digests
#   --force          builds even what did not change
#
#   BUILDER          buildah, podman or docker; without it the first that is there
#   BASE_IMAGE       base, best by digest (name@sha256:…); `local` makes one by debootstrap (hack/images/base.sh)
#   BUILDER_IMAGE    where packages are installed: BASE_IMAGE, or one with pip or the venv module beside the same Python
#   ARCHIVES         ~/.cache/tidegate/images/VERSION
#   IMAGE_PREFIX     localhost/tidegate; two trees that build at once take two, and two ARCHIVES
#   CA_BUNDLE        certificates for the package index (SSL_CERT_FILE); INDEX_URL_FILE  file with another index's URL
#   SOURCE_URL       address of the source for the label org.opencontainers.image.source
set -euo pipefail
cd "$(dirname "$0")/../.."
. hack/images/common.sh
all=(operator receiver pipeline-data train serve mlflow)
sources=(pyproject.toml README.md LICENSE tidegate components pipelines serving monitoring)

archive=0 push="" force=0 roles=()
while [ $# -gt 0 ]; do
  case "$1" in
    --archive) archive=1 ;;
    --force) force=1 ;;
    --push)
      push="${2:-}"
      [ -n "$push" ] || die "--push wants a registry: --push registry.example.com/team"
      shift
      ;;
    -h | --help)
      sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    -*) die "what is '$1'? See hack/images/build.sh --help." ;;
    *)
      [[ " ${all[*]} " == *" $1 "* ]] || die "there is no role '$1': the roles are ${all[*]}."
      roles+=("$1")
      ;;
  esac
  shift
done
[ ${#roles[@]} -gt 0 ] || roles=("${all[@]}")
choose_builder

version="$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -n 1)"
revision="$(git rev-parse HEAD 2> /dev/null || echo unknown)"
# Files bear the date of the last change to the locks and build files, not the build's: layers stay the same over
# releases, and a registry and its nodes keep one copy. The commit's own date is in a label.
locks_date="$(git log -1 --format=%ct -- images requirements 2> /dev/null || true)"
locks_date="${SOURCE_DATE_EPOCH:-${locks_date:-315532800}}"
source_date="$(git log -1 --format=%ct 2> /dev/null || true)"
source_date="${SOURCE_DATE_EPOCH:-${source_date:-$locks_date}}"
archives="${ARCHIVES:-$HOME/.cache/tidegate/images/$version}"

base="${BASE_IMAGE:-}" builder="${BUILDER_IMAGE:-}"
if [ "$base" = local ]; then
  hack/images/base.sh
  base=localhost/tidegate/base:bookworm builder="${builder:-localhost/tidegate/base-build:bookworm}"
fi
if [ -z "$base" ]; then
  base="$(sed -n 's/^ARG BASE_IMAGE=//p' images/operator.Containerfile)"
fi
builder="${builder:-$base}"
if [ -n "$push" ] && [[ "$base" != *@sha256:* ]] && [[ "$base" != localhost/* ]]; then
  echo "warning: the base $base is not pinned: set BASE_IMAGE=name@sha256:… so that it can be built again" >&2
fi

# The content that decides: files that reach the build, and what they are built on.
inputs_of() {
  local role=$1 groups
  groups="$(sed -n 's/^ *sh images.steps.packages.sh //p' "images/$role.Containerfile")"
  {
    printf '%s\n' "$base" "$(image_id "$base" || true)" "$builder" "$(image_id "$builder" || true)" "$locks_date"
    {
      find "${sources[@]}" images/steps -type f ! -path '*/__pycache__/*'
      printf '%s\n' "images/$role.Containerfile" .dockerignore requirements/uv.txt requirements/images/tools.txt
      for group in $groups; do echo "requirements/images/$group.txt"; done
    } | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum
  } | sha256sum | cut -d ' ' -f 1
}

secrets=()
ca="${CA_BUNDLE:-${SSL_CERT_FILE:-}}"
[ -z "$ca" ] || [ ! -s "$ca" ] || secrets+=(--secret "id=ca-bundle,src=$ca")
[ -z "${INDEX_URL_FILE:-}" ] || secrets+=(--secret "id=index-url,src=$INDEX_URL_FILE")

build() {
  local role=$1 image=$2 inputs=$3
  local arguments=(
    --build-arg "BASE_IMAGE=$base" --build-arg "BUILDER_IMAGE=$builder" "${secrets[@]}"
    --label "org.opencontainers.image.version=$version"
    --label "org.opencontainers.image.revision=$revision"
    --label "org.opencontainers.image.created=$(date -u -d "@$source_date" +%Y-%m-%dT%H:%M:%SZ)"
    --label "org.opencontainers.image.base.name=$base"
    --label "dev.tidegate.inputs=$inputs"
  )
  [ -z "${SOURCE_URL:-}" ] || arguments+=(--label "org.opencontainers.image.source=$SOURCE_URL")
  case "$BUILDER" in
    docker) arguments+=(--build-arg "SOURCE_DATE_EPOCH=$locks_date") ;;
    *) arguments+=(--timestamp "$locks_date") ;;
  esac
  build_image "$image" "images/$role.Containerfile" . "${arguments[@]}"
}

# The archive appears when it is whole, with what it was made of and its SBOM beside it.
keep() {
  local role=$1 image=$2 inputs=$3 file="$archives/$1.tar"
  mkdir -p "$archives"
  rm -f "$file.part" "$file.inputs"
  case "$BUILDER" in # chained: "set -e" holds in no function that is called before "||"
    buildah) buildah push --quiet --disable-compression "$image" "oci-archive:$file.part:$image" ;;
    podman) podman save --quiet --format oci-archive -o "$file.part" "$image" ;;
    docker) docker save -o "$file.part" "$image" ;;
  esac &&
    read_file "$image" /opt/tidegate/sbom.cdx.json > "$archives/$role.cdx.json" &&
    mv "$file.part" "$file" &&
    printf '%s\n' "$inputs" > "$file.inputs"
}

for role in "${roles[@]}"; do
  image="${IMAGE_PREFIX:-localhost/tidegate}/$role:$version"
  inputs="$(inputs_of "$role")"
  kept="$(cat "$archives/$role.tar.inputs" 2> /dev/null || true)"
  if [ $force = 0 ] && [ $archive = 1 ] && [ -z "$push" ] && [ "$kept" = "$inputs" ]; then
    echo "$role: unchanged, $archives/$role.tar"
    continue
  fi
  started=$SECONDS
  if [ $force = 0 ] && [ "$(image_label "$image" dev.tidegate.inputs)" = "$inputs" ]; then
    echo "$role: unchanged, $image"
  else
    echo "$role: building $image with $BUILDER on $base"
    build "$role" "$image" "$inputs" || die "$role was not built (see above)."
    echo "$role: built in $((SECONDS - started)) s"
  fi
  if [ $archive = 1 ] && { [ $force = 1 ] || [ "$kept" != "$inputs" ]; }; then
    keep "$role" "$image" "$inputs" || die "the archive of $role was not written (see above)."
    echo "$role: $archives/$role.tar ($(du -h "$archives/$role.tar" | cut -f 1))"
  fi
  if [ -n "$push" ]; then
    push_image "$image" "$push/tidegate/$role:$version" || die "$role was not pushed (see above)."
  fi
done
