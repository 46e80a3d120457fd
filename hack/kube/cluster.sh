#!/usr/bin/env bash
# A real one-node Kubernetes on this machine, for tests and for trying things: its pods run, nothing is pulled.
#
#   hack/kube/cluster.sh up                 builds what is missing (8 minutes the first time), node Ready 6 s later
#   hack/kube/cluster.sh status             what runs, and since when
#   hack/kube/cluster.sh load ARCHIVE...    puts OCI archives into its image store
#   hack/kube/cluster.sh kubeconfig         prints the path
#   hack/kube/cluster.sh down               ends only what `up` started, and puts the host back
#
# Root, Go 1.26 and Debian 12. Binaries and state lie under ~/.cache/tidegate/kube (TIDEGATE_KUBE_CACHE). Exit status 3:
# this machine cannot run it, 1: it is not up (status, load).
set -euo pipefail
. "$(dirname "$0")/node/env.sh"

status() {
  if ! ready; then
    echo "not up: hack/kube/cluster.sh up"
    return 1
  fi
  kubectl get nodes -o wide
  echo
  kubectl get pods -A
  echo
  echo "export KUBECONFIG=$KUBECONFIG"
}

case "${1:-}" in
  up) exec "$here/up.sh" ;;
  down) exec "$here/down.sh" ;;
  status) status ;;
  kubeconfig) echo "$KUBECONFIG" ;;
  load)
    shift
    ready || { echo "the cluster is not up: hack/kube/cluster.sh up" >&2; exit 1; }
    for archive in "$@"; do ctr images import "$archive"; done
    ;;
  *)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    [ "${1:-}" = help ] || [ "${1:-}" = --help ] || exit 2
    ;;
esac
