#!/usr/bin/env bash
# Brings up a one-node Kubernetes whose pods really run. A Ready node is left as it is; one half up is taken down first.
# What each setting is for was met: see the comments.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$here/certificates.sh"
take_turns
if ready; then
  echo "already up: export KUBECONFIG=$KUBECONFIG"
  exit 0
fi
"$here/build.sh"
[ ! -d "$run" ] || TIDEGATE_NODE_TURN=mine "$here/down.sh"
mkdir -p "$run/pki" "$run/cni"
began="$(date +%s%N)"
told() { awk -v from="$began" -v to="$(date +%s%N)" -v what="$*" 'BEGIN { printf "%6.1f s  %s\n", (to - from) / 1e9, what }'; }
filled() { # TEMPLATE: @NAME@ becomes the variable's value
  sed -e "s#@RUN@#$run#g; s#@SOCKET@#$socket#g; s#@ADDRESS@#$address#g; s#@NODE@#$node#g; s#@DNS@#$dns#g; s#@PODS@#$pods#g" \
    -e "s#@BRIDGE@#$bridge#g; s#@KUBELET_PORT@#$kubelet_port#g; s#@COREDNS@#$coredns_version#g" "$here/$1"
}

host() { # settings of the host are remembered; down.sh puts them back
  local keys=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables kernel.panic kernel.panic_on_oops vm.overcommit_memory
    vm.panic_on_oom net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_tcp_timeout_established
    net.netfilter.nf_conntrack_tcp_timeout_close_wait) key value
  for key in "${keys[@]}"; do value="$(sysctl -n "$key" 2> /dev/null)" && echo "$key=$value"; done > "$run/sysctl.saved"
  sysctl -qw net.ipv4.ip_forward=1
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 2> /dev/null || true # absent until the bridge module is loaded
  (ls /run/netns 2> /dev/null || true) | sort > "$run/netns.before"
  ip addr show dev lo | grep -q " $address/32" || ip addr add "$address/32" dev lo
  nft list tables > "$run/tables.before"
  filled seal.nft | nft -f -
}

control_plane() {
  cd "$run"
  start etcd "$bin/etcd" --data-dir "$run/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$etcd_peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" \
    --initial-cluster "default=http://127.0.0.1:$etcd_peer_port"
  start kube-apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" --allow-privileged=true \
    --bind-address "$address" --advertise-address "$address" --secure-port "$api_port" \
    --tls-cert-file pki/apiserver.crt --tls-private-key-file pki/apiserver.key --client-ca-file pki/ca.crt \
    --token-auth-file pki/tokens.csv --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --service-account-key-file pki/accounts.pub --service-account-signing-key-file pki/accounts.key \
    --service-account-issuer https://kubernetes.default.svc.cluster.local --service-cluster-ip-range "$services" \
    --kubelet-client-certificate pki/apiserver-kubelet.crt --kubelet-client-key pki/apiserver-kubelet.key \
    --kubelet-certificate-authority pki/ca.crt --kubelet-preferred-address-types InternalIP
}

controllers() {
  cd "$run"
  local kubeconfigs
  kubeconfigs() { echo --kubeconfig "$1.kubeconfig" --authentication-kubeconfig "$1.kubeconfig" --authorization-kubeconfig "$1.kubeconfig"; }
  # shellcheck disable=SC2046
  start kube-controller-manager "$bin/kube-controller-manager" $(kubeconfigs controller-manager) --leader-elect=false \
    --bind-address 127.0.0.1 --secure-port 21257 --service-account-private-key-file pki/accounts.key \
    --root-ca-file pki/ca.crt --use-service-account-credentials
  # shellcheck disable=SC2046
  start kube-scheduler "$bin/kube-scheduler" $(kubeconfigs scheduler) --leader-elect=false \
    --bind-address 127.0.0.1 --secure-port 21259
}

containers() {
  cd "$run"
  filled cni.conflist > cni/10-tidegate.conflist
  filled containerd.toml > containerd.toml
  PATH="$containerd_bin:$PATH" start containerd "$containerd_bin/containerd" --config "$run/containerd.toml"
  wait_for 10 containerd ctr version
  local archive
  for archive in pause "coredns-$coredns_version" base; do ctr images import "$images/$archive.tar" >> import.log 2>&1; done
}

kubelet() {
  cd "$run"
  echo "# nothing outside is resolved" > resolv.conf
  filled kubelet.yaml > kubelet.yaml
  filled kube-proxy.yaml > kube-proxy.yaml
  start kubelet "$bin/kubelet" --config kubelet.yaml --kubeconfig kubelet.kubeconfig --root-dir "$run/kubelet" \
    --hostname-override "$node" --node-ip "$address"
  start kube-proxy "$bin/kube-proxy" --config kube-proxy.yaml
}

# Policies hold for traffic between pods as well, which the bridge shows to the filter: bridge-nf-call-iptables above.
policies() {
  start netpol "$("$kube/../netpol/build.sh")" --kubeconfig "$run/admin.kubeconfig" --node "$node" --services "$services"
  wait_for 30 "the enforcement of NetworkPolicies" enforced
}

host
certificates
control_plane
containers
told "containerd up, images imported"
wait_for 60 "the API server" kubectl get --raw /readyz
told "API server ready"
controllers
kubelet
wait_for 60 "the node" node_ready
policies
told "node Ready, NetworkPolicies in force"
filled coredns.yaml | kubectl apply -f - > "$run/coredns.apply.log"
kubectl -n kube-system rollout status deployment/coredns --timeout=120s > /dev/null
told "DNS ready"
echo "export KUBECONFIG=$KUBECONFIG"
