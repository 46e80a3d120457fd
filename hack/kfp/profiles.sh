#!/usr/bin/env bash
# Kubeflow Pipelines for many users, beside the one of up.sh, which is up: an API server that asks who somebody is and what
# they may do, with the profile team-a. It shares MariaDB (with a database of its own), MinIO and ML Metadata.
#
#   hack/kfp/profiles.sh up      prints the address of its API
#   hack/kfp/profiles.sh down    removes it with its runs
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
running || { echo "not up: hack/kfp/up.sh" >&2; exit 1; }
namespaces=(kubeflow-profiles team-a team-b)

address_of() { echo "http://$(kubectl -n kubeflow-profiles get service ml-pipeline -o jsonpath='{.spec.clusterIP}'):8888"; }

up() {
  local name config
  for name in "${namespaces[@]}"; do # an earlier one may still be going
    [ "$(kubectl get namespace "$name" --ignore-not-found -o jsonpath='{.status.phase}')" != Terminating ] ||
      kubectl wait --for=delete --timeout=90s "namespace/$name"
  done
  config="$(kubectl -n kubeflow get configmap kfp-config -o 'jsonpath={.data.config\.json}' | tr -d '\n')"
  sed -e "s#@IMAGE@#localhost/kfp:$KFP_VERSION#g; s#@CONFIG@#$config#g" manifests/profiles.yaml |
    kubectl apply --server-side --force-conflicts -f -
  kubectl -n kubeflow-profiles rollout status deployment/ml-pipeline --timeout=120s
  wait_for 30 "the API" curl -sf --noproxy '*' --max-time 5 "$(address_of)/apis/v2beta1/healthz"
}

down() {
  kubectl delete namespace --ignore-not-found --wait=false "${namespaces[@]}"
  kubectl delete clusterrole --ignore-not-found kfp-profiles kfp-profiles-runs kfp-profiles-edit kfp-profiles-view
  kubectl delete clusterrolebinding --ignore-not-found kfp-profiles
  mariadb --no-defaults --user=root --socket="$KFP_STATE/database.sock" --execute "DROP DATABASE IF EXISTS profiles"
}

case "${1:-}" in
  up)
    up >&2
    address_of
    ;;
  down) down > /dev/null ;;
  *)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 2
    ;;
esac
