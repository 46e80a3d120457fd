# Addresses, ports, versions and folders of the one-node cluster. The other scripts source it.
# shellcheck shell=bash disable=SC2034
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
kube="$(dirname "$here")"
repository="$(cd "$kube/../.." && pwd)"

module_version() { # FOLDER MODULE
  sed -nE "s#^(require)?[[:space:]]+$2 v([^ ]+)( .*)?\$#\2#p" "$1/go.mod" | head -n 1
}
kubernetes_version="$(module_version "$kube" k8s.io/kubernetes)"
containerd_version="$(module_version "$kube/containerd" github.com/containerd/containerd/v2)"
coredns_version="$(module_version "$kube/coredns" github.com/coredns/coredns)"

cache="${TIDEGATE_KUBE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/kube}"
bin="$cache/$kubernetes_version/bin"
containerd_bin="$cache/containerd-$containerd_version/bin"
coredns_bin="$cache/coredns-$coredns_version/bin"
images="$cache/images"
run="$cache/run" # all state of the running node; down.sh removes it
logs="$cache/last-logs"

node=node1
# A /32 on the loopback device: the API server and the kubelet listen there and on no other interface.
address=10.250.0.1
api_port=26443 etcd_port=24790 etcd_peer_port=24800 kubelet_port=21250
services=10.97.0.0/16 first_service=10.97.0.1 dns=10.97.0.10
pods=10.245.0.0/24 bridge=cni-tidegate0

socket="$run/containerd.sock"
export KUBECONFIG="$run/admin.kubeconfig"

kubectl() { "$bin/kubectl" "$@"; }
ctr() { "$containerd_bin/ctr" --address "$socket" --namespace k8s.io "$@"; }

# A program that up.sh started: its process id and executable are recorded, so that another process which got the same
# id later is never taken for it.
start() {
  local name="$1"
  shift
  setsid "$@" > "$run/$name.log" 2>&1 < /dev/null 9>&- &
  echo $! > "$run/$name.pid"
  readlink -f "$(command -v "$1")" > "$run/$name.exe"
}
alive() {
  [ -s "$run/$1.pid" ] && [ "$(readlink "/proc/$(cat "$run/$1.pid")/exe" 2> /dev/null)" = "$(cat "$run/$1.exe" 2> /dev/null)" ]
}
# Two that bring the node up at once would each take the other's down: they take turns. The descriptor is not inherited
# by what is started, which would hold the turn for ever.
take_turns() {
  mkdir -p "$cache"
  exec 9> "$cache/node.lock"
  flock 9
}
node_ready() { kubectl get node "$node" 2> /dev/null | grep -q ' Ready'; }
ready() { alive kubelet && alive kube-apiserver && alive netpol && node_ready; }
# Its last rule is written by the first round that went through all policies.
enforced() { alive netpol && iptables --list-rules KUBE-ROUTER-FORWARD 2> /dev/null | grep -q ACCEPT; }
wait_for() { # SECONDS WHAT COMMAND...
  local seconds="$1" what="$2" _
  shift 2
  for _ in $(seq $((seconds * 10))); do
    "$@" > /dev/null 2>&1 && return 0
    sleep 0.1
  done
  echo "$what did not come up within $seconds s; see the logs in $run" >&2
  return 1
}
