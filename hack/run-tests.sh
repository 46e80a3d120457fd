#!/usr/bin/env bash
# Runs the tests in groups, a process each: Ray, MLflow and Feast keep global state, and Ray reads its token but once.
# All groups run; the exit code says whether every one passed. Arguments go to each pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
groups=("tests/unit -m not\ integration" "tests/unit -m integration")
for area in tests/integration/*/; do
  compgen -G "${area}test_*.py" > /dev/null && groups+=("$area")
done
groups+=("tests/e2e/operator")
if [ "${TIDEGATE_LOOP:-1}" = "1" ]; then groups+=("tests/e2e/test_loop.py"); else echo "left out: the whole loop (TIDEGATE_LOOP)"; fi

# What the Kubernetes tests run on is built once, here: minutes of a compiler would count as a test's time.
hack/kube/build.sh > /dev/null || echo "left out: tests on a Kubernetes API server (see above)"
{ hack/helm/build.sh && hack/helm/build.sh glua; } > /dev/null || echo "left out: tests of the chart (see above)"
# The same for the one-node cluster and what is installed on it. It needs root and Debian's packages; status 3 says so.
if [ "${TIDEGATE_NODE:-1}" = 0 ]; then
  echo "left out: the one-node cluster (TIDEGATE_NODE)"
elif hack/kube/node/build.sh && hack/kuberay/build.sh > /dev/null && hack/images/setup.sh; then
  groups+=("tests/cluster/test_*.py")
  if [ "${TIDEGATE_NODE:-1}" = all ]; then
    hack/kfp/build.sh > /dev/null && groups+=("tests/cluster/kfp")
  else
    echo "left out: Kubeflow Pipelines on the one-node cluster (TIDEGATE_NODE=all: 25 minutes more the first time)"
  fi
else
  echo "left out: the one-node cluster (see above)"
fi

$python -m coverage erase
failed=()
for group in "${groups[@]}"; do
  eval "arguments=($group)"
  echo "== ${arguments[*]}"
  started=$SECONDS
  $python -m pytest "${arguments[@]}" -q --no-header --cov --cov-append --cov-report= "$@"
  code=$?
  [ $code -eq 5 ] && [ $# -gt 0 ] && code=0 # the arguments chose no test of this group
  [ $code -eq 0 ] || failed+=("${arguments[*]}")
  echo "== ${arguments[*]}: $((SECONDS - started)) s"
done
$python -m coverage report --skip-covered --sort=cover | tail -n 25
if [ "${#failed[@]}" -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "all ${#groups[@]} groups of tests passed in $SECONDS s"
