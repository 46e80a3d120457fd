#!/usr/bin/env bash
# Takes Kueue off the node, its queues with it: they go while it is there to let go of them. Then its webhooks: while they
# are there and it is not, nobody can make a pod.
set -euo pipefail
cd "$(dirname "$0")"
. ../kube/node/env.sh
ready || { echo "the cluster is not up" >&2; exit 0; }
# A Kueue that was half installed knows no queues, and must go all the same.
kubectl delete --ignore-not-found --timeout=60s --all localqueues.kueue.x-k8s.io,workloads.kueue.x-k8s.io \
  --all-namespaces > /dev/null 2>&1 || true
kubectl delete --ignore-not-found --timeout=60s --all clusterqueues.kueue.x-k8s.io,resourceflavors.kueue.x-k8s.io \
  > /dev/null 2>&1 || true
kubectl delete --ignore-not-found \
  mutatingwebhookconfiguration/kueue-mutating-webhook-configuration \
  validatingwebhookconfiguration/kueue-validating-webhook-configuration > /dev/null
./objects.sh | kubectl delete --ignore-not-found --timeout=120s -f - > /dev/null
echo "Kueue is down"
