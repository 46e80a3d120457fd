# Versions, addresses and folders of Kubeflow Pipelines on the one-node cluster. Sourced by build.sh, up.sh and down.sh.
# What a version number stands for is pinned by hash: Go modules in go/*/go.sum, Python packages in locks/*.txt, and the
# module sources that are built in a changed form below.
KFP_VERSION=2.14.3
API_MODULE=github.com/kubeflow/pipelines/api@v0.0.0-20250102152816-873e9dedd766
API_SUM=h1:ZXz+Ki+hxez8vsr5hWHsjYWpa9V/dkp3iI4XTtMBH7A=
PLATFORM_MODULE=github.com/kubeflow/pipelines/kubernetes_platform@v0.0.0-20240725205754-d911c8b73b49
PLATFORM_SUM=h1:Xf1qun8x4ZJj/nLZpUSIaphDK04NKeV7WME31qIC8Xo=
ARGO_VERSION=v3.6.7
ARGO_MODULE=github.com/argoproj/argo-workflows/v3@$ARGO_VERSION
ARGO_SUM=h1:3vT0ygPVtZxSSUaZsCeI+Th/Bm9Cfc2J1FQOGe2iKoM=

KFP_HOME="${TIDEGATE_KFP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/kfp}/$KFP_VERSION"
KFP_BIN="$KFP_HOME/bin"
KFP_STATE="$KFP_HOME/state" # of what runs: pids, logs, data; gone after down.sh

# What runs beside the cluster, on the address that only this machine and its pods reach.
DATABASE_PORT=23306
OBJECTS_PORT=29000
METADATA_PORT=28080

# The node's addresses and helpers; `start` and `alive` keep their records in $run, which is ours from here on.
kfp="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$kfp/../kube/node/env.sh"
if ready; then node_is_up=yes; else node_is_up=; fi
on_node() { [ -n "$node_is_up" ]; }
run="$KFP_STATE"

api() { echo "http://$(kubectl -n kubeflow get service ml-pipeline -o jsonpath='{.spec.clusterIP}'):8888"; }
answers() { curl -sf --noproxy '*' --max-time 5 "$(api)/apis/v2beta1/healthz" > /dev/null 2>&1; }
running() { on_node && alive mariadb && alive minio && alive metadata && [ -f "$KFP_STATE/up" ] && answers; }
