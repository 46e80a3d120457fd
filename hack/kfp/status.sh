#!/usr/bin/env bash
# Prints the address of the API where Kubeflow Pipelines is up; exit status 1 where it is not.
set -euo pipefail
cd "$(dirname "$0")"
. ./env.sh
running || { echo "not up: hack/kfp/up.sh" >&2; exit 1; }
api
