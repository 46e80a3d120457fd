#!/usr/bin/env bash
# Installs Kueue on the one-node cluster, which is up (hack/kube/cluster.sh up), after KubeRay: it looks after the kinds
# that are there when it starts. Waits until it answers; what is there already is left as it is.
set -euo pipefail
cd "$(dirname "$0")"
. ../kube/node/env.sh
ready || { echo "the cluster is not up: hack/kube/cluster.sh up" >&2; exit 1; }

home="$(dirname "$(./build.sh)")"
image="localhost/kueue:$(basename "$home")"
running() {
  kubectl -n kueue-system get deployment kueue-controller-manager 2> /dev/null \
    -o jsonpath='{.spec.template.spec.containers[0].image} {.status.readyReplicas} {.status.updatedReplicas}'
}
if [ "$(running)" != "$image 1 1" ]; then
  loaded="$(../kube/cluster.sh load "$home/image.tar" 2>&1)" || { echo "$loaded" >&2; exit 1; }
  ./objects.sh | kubectl apply --server-side --force-conflicts -f - > /dev/null
  kubectl -n kueue-system rollout status deployment/kueue-controller-manager --timeout=120s > /dev/null
fi
# Its pod is ready before its webhooks answer: they wait for certificates that it makes first.
flavor='{apiVersion: kueue.x-k8s.io/v1beta2, kind: ResourceFlavor, metadata: {name: tidegate-asks}}'
for ((tries = 60; tries > 0; tries--)); do
  asked="$(kubectl apply --server-side --dry-run=server -f - <<< "$flavor" 2>&1)" && break
  sleep 1
done
[ "$tries" -gt 0 ] || { echo "Kueue's webhooks do not answer: $asked" >&2; exit 1; }
echo "Kueue $(basename "$home") is up"
