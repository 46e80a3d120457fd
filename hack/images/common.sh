# What building images needs of buildah, podman or docker. Sourced, never run.

die() {
  echo "error: $*" >&2
  exit 1
}

# Sets BUILDER: what the user named, else the first that is there (and, of docker, answers).
choose_builder() {
  local tool
  if [ -n "${BUILDER:-}" ]; then
    case "$BUILDER" in
      buildah | podman | docker) ;;
      *) die "BUILDER=$BUILDER is not known: set it to buildah, podman or docker." ;;
    esac
    command -v "$BUILDER" > /dev/null || die "BUILDER=$BUILDER is not installed."
    return
  fi
  for tool in buildah podman docker; do
    command -v "$tool" > /dev/null || continue
    [ "$tool" != docker ] || docker version > /dev/null 2>&1 || continue
    BUILDER=$tool
    return
  done
  die "no image builder: install buildah, podman or docker (on Debian: apt-get install -y --no-install-recommends buildah)."
}

# image_id NAME: the content's id of an image in the tool's own storage; fails where it is not there.
image_id() {
  case "$BUILDER" in
    buildah) buildah inspect --type image --format '{{.FromImageID}}' "$1" 2> /dev/null ;;
    *) "$BUILDER" image inspect --format '{{.Id}}' "$1" 2> /dev/null ;;
  esac
}

# image_label NAME LABEL: a label's value; empty where there is none.
image_label() {
  case "$BUILDER" in
    buildah) buildah inspect --type image --format "{{index .OCIv1.Config.Labels \"$2\"}}" "$1" 2> /dev/null || true ;;
    *) "$BUILDER" image inspect --format "{{index .Config.Labels \"$2\"}}" "$1" 2> /dev/null || true ;;
  esac
}

# build_image NAME CONTAINERFILE CONTEXT [ARGUMENT…]
build_image() {
  local name=$1 file=$2 context=$3
  shift 3
  case "$BUILDER" in
    # chroot: works in containers and sandboxes too, as root or not; --layers: what did not change is not built again
    buildah) buildah bud --layers --isolation "${BUILDAH_ISOLATION:-chroot}" --network host --quiet --format oci \
      -t "$name" -f "$file" "$@" "$context" > /dev/null ;;
    podman) podman build --layers --network host --quiet --format oci -t "$name" -f "$file" "$@" "$context" > /dev/null ;;
    docker) DOCKER_BUILDKIT=1 docker build --network host --quiet -t "$name" -f "$file" "$@" "$context" > /dev/null ;;
  esac
}

# read_file NAME PATH: a file of an image, to standard output. Nothing of the image runs.
read_file() {
  local container folder status=0
  case "$BUILDER" in
    buildah)
      container="$(buildah from --pull-never "$1")" || return 1
      { folder="$(buildah mount "$container")" && cat "$folder$2"; } || status=1
      ;;
    *)
      container="$("$BUILDER" create "$1")" || return 1
      "$BUILDER" cp "$container:$2" - | tar -xOf - || status=1
      ;;
  esac
  "$BUILDER" rm "$container" > /dev/null
  return $status
}

# push_image NAME TARGET: to a registry; prints the target by its digest.
push_image() {
  local digests status=0
  digests="$(mktemp)"
  case "$BUILDER" in # chained: "set -e" holds in no function that is called before "||"
    docker)
      docker tag "$1" "$2" && docker push --quiet "$2" > /dev/null &&
        docker image inspect --format '{{index .RepoDigests 0}}' "$2" || status=1
      ;;
    *) "$BUILDER" push --quiet --digestfile "$digests" "$1" "docker://$2" && echo "$2@$(cat "$digests")" || status=1 ;;
  esac
  rm -f "$digests"
  return $status
}
