#!/usr/bin/env bash
# Brings up Kubeflow Pipelines on the one-node cluster, which is up (hack/kube/cluster.sh up): MariaDB, MinIO and ML
# Metadata as processes beside it, Pipelines and Argo as pods. What is up is left as it is; what was started for a node
# that is gone is taken down first. The last line is the address of the API. 16 s on 2 cores.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
on_node || { echo "the cluster is not up: hack/kube/cluster.sh up" >&2; exit 1; }
# A node that was taken down took its objects with it: data of another one would be runs that nobody knows.
cluster="$(kubectl get namespace kube-system -o jsonpath='{.metadata.uid}')"
if [ -d "$KFP_STATE" ] && [ "$(cat "$KFP_STATE/cluster" 2> /dev/null)" != "$cluster" ]; then ./down.sh; fi
./build.sh > /dev/null

if running; then
  api
  exit 0
fi
rm -f "$KFP_STATE/up"
mkdir -p "$KFP_STATE"
echo "$cluster" > "$KFP_STATE/cluster"
cd "$KFP_STATE"

database() {
  sql() { mariadb --no-defaults --user=root --socket="$KFP_STATE/database.sock" --execute "$1"; }
  if [ ! -f database.ready ]; then
    rm -rf --one-file-system database
    mariadb-install-db --no-defaults --user=root --datadir="$KFP_STATE/database" \
      --auth-root-authentication-method=normal > database.install.log 2>&1
    touch database.ready
  fi
  alive mariadb || start mariadb mariadbd --no-defaults --user=root --datadir="$KFP_STATE/database" \
    --socket="$KFP_STATE/database.sock" --pid-file="$KFP_STATE/database.pid" --skip-name-resolve \
    --bind-address="$address" --port="$DATABASE_PORT" --innodb-flush-log-at-trx-commit=0
  wait_for 60 MariaDB sql "SELECT 1"
  sql "CREATE USER IF NOT EXISTS 'kfp'@'%' IDENTIFIED BY 'kfp'; GRANT ALL ON *.* TO 'kfp'@'%'"
}

objects() {
  mkdir -p objects
  alive minio || MINIO_ROOT_USER=minio MINIO_ROOT_PASSWORD=minio123 MINIO_BROWSER=off MINIO_UPDATE=off \
    start minio "$("$kfp/../minio/build.sh")" server --address "$address:$OBJECTS_PORT" "$KFP_STATE/objects"
  wait_for 60 MinIO curl -sf --noproxy '*' "http://$address:$OBJECTS_PORT/minio/health/ready"
}

metadata() {
  alive metadata || start metadata "$KFP_HOME/metadata/bin/python" "$kfp/metadata_server.py" \
    "$address:$METADATA_PORT" "$KFP_STATE/metadata.sqlite"
  wait_for 60 "ML Metadata" grep -q listening metadata.log
}

pipelines() {
  "$kfp/../kube/cluster.sh" load "$KFP_HOME/image.tar"
  kubectl apply --server-side -k "$KFP_HOME/src/argo-src/manifests/base/crds/minimal"
  kubectl apply --server-side -f "$kfp/manifests/definitions.yaml"
  # One that is too new to have conditions is an error to `kubectl wait`, not something to wait for.
  wait_for 60 "the definitions of Pipelines" kubectl wait --for=condition=Established --timeout=5s \
    crd/workflows.argoproj.io crd/workflowtaskresults.argoproj.io crd/scheduledworkflows.kubeflow.org
  sed -e "s#@ADDRESS@#$address#g; s#@IMAGE@#localhost/kfp:$KFP_VERSION#g; s#@DATABASE_PORT@#$DATABASE_PORT#g" \
    -e "s#@OBJECTS_PORT@#$OBJECTS_PORT#g; s#@METADATA_PORT@#$METADATA_PORT#g" "$kfp"/manifests/{host,pipelines,argo}.yaml |
    kubectl apply --server-side --force-conflicts -f -
  local deployment
  for deployment in ml-pipeline workflow-controller persistenceagent scheduledworkflow; do
    kubectl -n kubeflow rollout status "deployment/$deployment" --timeout=120s
  done
}

database & parts=($!)
objects & parts+=($!)
metadata & parts+=($!)
for part in "${parts[@]}"; do wait "$part"; done
pipelines > pipelines.log 2>&1 & # beside it, because "set -e" holds in no function that is called before "||"
wait $! || { tail -n 20 pipelines.log >&2; exit 1; }
wait_for 60 "the API" answers # a Service is routed a moment after its pod is ready
touch up
api
