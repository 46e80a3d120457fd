#!/usr/bin/env bash
# Installs the KubeRay operator on the one-node cluster, which is up (hack/kube/cluster.sh up), and waits until it
# answers. What is there already is left as it is; nothing but the cluster holds it, so nothing takes it down.
set -euo pipefail
cd "$(dirname "$0")"
. ../kube/node/env.sh
ready || { echo "the cluster is not up: hack/kube/cluster.sh up" >&2; exit 1; }

home="$(dirname "$(./build.sh)")"
image="localhost/kuberay-operator:$(basename "$home")"
running() { # definitions go first: where the operator answers, they are there
  kubectl -n kuberay-system get deployment kuberay-operator 2> /dev/null \
    -o jsonpath='{.spec.template.spec.containers[0].image} {.status.readyReplicas} {.status.updatedReplicas}'
}
if [ "$(running)" = "$image 1 1" ]; then
  echo "KubeRay $(basename "$home") is up"
  exit 0
fi

loaded="$(../kube/cluster.sh load "$home/image.tar" 2>&1)" || { echo "$loaded" >&2; exit 1; }
# Server-side: the definitions are larger than the annotation in which `apply` would keep a copy.
kubectl apply --server-side --force-conflicts -f "$home/config/crd/bases" > /dev/null
# One that is too new to have conditions is an error to `kubectl wait`, not something to wait for.
wait_for 60 "KubeRay's definitions" kubectl wait --for=condition=Established --timeout=5s \
  crd/rayclusters.ray.io crd/rayjobs.ray.io crd/rayservices.ray.io crd/raycronjobs.ray.io

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
cp -r kustomization.yaml namespace.yaml "$home/config" "$scratch/"
(cd "$scratch" && kubectl kustomize . | sed "s#image: kuberay/operator.*#image: $image#") |
  kubectl apply --server-side --force-conflicts -f - > /dev/null
kubectl -n kuberay-system rollout status deployment/kuberay-operator --timeout=120s > /dev/null
echo "KubeRay $(basename "$home") is up"
