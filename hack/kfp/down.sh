#!/usr/bin/env bash
# Takes down what up.sh started beside the cluster, by recorded process id and executable, and removes its data. Where
# the cluster is up, what was installed in it goes, too; --beside leaves that to the cluster's own end.
set -uo pipefail
cd "$(dirname "$0")"
. ./env.sh
if [ ! -d "$KFP_STATE" ]; then
  echo "not up"
  exit 0
fi
if [ "${1:-}" != --beside ] && on_node; then
  if running; then ./profiles.sh down; fi
  kubectl delete namespace kubeflow --ignore-not-found --timeout=120s > /dev/null
  kubectl delete clusterrole,clusterrolebinding kfp-argo --ignore-not-found > /dev/null
  kubectl delete --ignore-not-found -k "$KFP_HOME/src/argo-src/manifests/base/crds/minimal" > /dev/null
  kubectl delete --ignore-not-found -f manifests/definitions.yaml > /dev/null
fi
for name in metadata minio mariadb; do
  alive "$name" || continue
  kill "$(cat "$run/$name.pid")"
  for _ in $(seq 100); do alive "$name" || break; sleep 0.1; done
done
rm -rf --one-file-system "$KFP_STATE"
echo "down"
