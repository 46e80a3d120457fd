# The node's own authority, certificates, tokens and kubeconfigs, in $run/pki. Sourced by up.sh.
# shellcheck shell=bash disable=SC2154
pki="$run/pki"

authority() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/ca.key"
  openssl req -x509 -new -key "$pki/ca.key" -subj /CN=tidegate-node-ca -days 3650 -out "$pki/ca.crt" 2> /dev/null
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/accounts.key"
  openssl ec -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub" 2> /dev/null
  : > "$pki/tokens.csv"
  chmod 600 "$pki/tokens.csv" "$pki"/*.key
}

certificate() { # NAME SUBJECT USAGE [ALTERNATIVE NAMES]
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key"
  openssl req -new -key "$pki/$1.key" -subj "$2" 2> /dev/null | openssl x509 -req -days 3650 -CAcreateserial \
    -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -out "$pki/$1.crt" 2> /dev/null \
    -extfile <(echo "extendedKeyUsage=$3"; [ -z "${4:-}" ] || echo "subjectAltName=$4")
}

kubeconfig() { # NAME USER [GROUP]
  local token
  token="$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')"
  echo "$token,$2,$2,\"${3:-}\"" >> "$pki/tokens.csv"
  (umask 077; cat > "$run/$1.kubeconfig") << YAML
apiVersion: v1
kind: Config
clusters: [{name: tidegate-node, cluster: {server: "https://$address:$api_port", certificate-authority: $pki/ca.crt}}]
users: [{name: $1, user: {token: $token}}]
contexts: [{name: tidegate-node, context: {cluster: tidegate-node, user: $1}}]
current-context: tidegate-node
YAML
}

certificates() {
  local kubernetes=kubernetes.default
  authority
  certificate apiserver /CN=kube-apiserver serverAuth \
    "DNS:kubernetes,DNS:$kubernetes,DNS:$kubernetes.svc,DNS:$kubernetes.svc.cluster.local,DNS:localhost,IP:$address,IP:$first_service,IP:127.0.0.1"
  certificate kubelet "/CN=system:node:$node/O=system:nodes" serverAuth "DNS:$node,IP:$address"
  certificate apiserver-kubelet /O=system:masters/CN=apiserver-kubelet clientAuth
  kubeconfig admin admin system:masters
  kubeconfig controller-manager system:kube-controller-manager
  kubeconfig scheduler system:kube-scheduler
  kubeconfig kubelet "system:node:$node" system:nodes
  kubeconfig proxy system:kube-proxy
}
