#!/usr/bin/env bash
# Takes down what up.sh started, by recorded process id and executable, and puts the host back as it was.
set -uo pipefail
. "$(dirname "$0")/env.sh"
[ "${TIDEGATE_NODE_TURN:-}" = mine ] || take_turns # up.sh has it when it takes half a node down
cd /
if [ ! -d "$run" ]; then
  echo "not up"
  exit 0
fi

stop() { # NAME
  local _
  alive "$1" || return 0
  kill "$(cat "$run/$1.pid")"
  for _ in $(seq 50); do alive "$1" || return 0; sleep 0.1; done
  kill -9 "$(cat "$run/$1.pid")"
  sleep 0.2
}

end_containers() {
  local task container _
  for task in $(ctr task ls -q 2> /dev/null); do ctr task kill -s KILL -a "$task" 2> /dev/null; done
  for _ in $(seq 30); do ctr task ls 2> /dev/null | grep -q RUNNING || break; sleep 0.1; done
  for task in $(ctr task ls -q 2> /dev/null); do ctr task rm -f "$task" > /dev/null 2>&1; done
  for container in $(ctr container ls -q 2> /dev/null); do ctr container rm "$container" 2> /dev/null; done
}

end_shims() { # those that are left: only shims of our socket
  local process
  for process in /proc/[0-9]*; do
    if tr '\0' ' ' 2> /dev/null < "$process/cmdline" | grep -q "containerd-shim-runc-v2 .*-address $socket "; then
      kill -9 "${process#/proc/}" 2> /dev/null
    fi
  done
}

unmount() {
  awk '{ print $5 }' /proc/self/mountinfo | grep "^$run/" | sort -r | while read -r mount; do
    umount "$mount" 2> /dev/null || umount -l "$mount"
  done
}

# It takes its rules away itself; what a killed one left goes here, and nobody else's rules.
remove_policies() {
  local set
  if iptables-save --table filter 2> /dev/null | grep -q KUBE-ROUTER-; then
    iptables-save --table filter | grep -vE 'KUBE-(ROUTER|NWPLCY|POD-FW)-' | iptables-restore --table filter
  fi
  for set in $(ipset list -name 2> /dev/null | grep -E '^KUBE-(SRC|DST)-'); do ipset destroy "$set"; done
  # The table goes where nobody had one before; without that list it is left.
  [ ! -f "$run/tables.before" ] || grep -qx 'table ip filter' "$run/tables.before" || nft delete table ip filter 2> /dev/null
}

restore_host() {
  local name file id cgroup line
  for name in $( (ls /run/netns 2> /dev/null || true) | sort | comm -23 - "$run/netns.before" | grep '^cni-'); do ip netns del "$name"; done
  ip link del "$bridge" 2> /dev/null
  ip addr del "$address/32" dev lo 2> /dev/null
  nft delete table ip kube-proxy 2> /dev/null
  nft delete table ip6 kube-proxy 2> /dev/null
  nft delete table inet tidegate-seal 2> /dev/null
  remove_policies
  [ ! -d /var/log/containers ] || find /var/log/containers -maxdepth 1 -type l -lname "$run/*" -delete
  for file in /var/lib/cni/results/tidegate-*-eth0; do # libcni's cache of our network
    [ -e "$file" ] || continue
    id="${file##*/tidegate-}"
    rm -f "$file" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
  done
  for cgroup in /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods; do
    [ ! -d "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} \; 2> /dev/null
  done
  [ ! -f "$run/sysctl.saved" ] || while read -r line; do sysctl -qw "$line" 2> /dev/null; done < "$run/sysctl.saved"
}

# Kubeflow Pipelines keeps its stores beside the cluster.
"$repository/hack/kfp/down.sh" --beside > /dev/null
for program in kubelet netpol kube-proxy kube-controller-manager kube-scheduler; do stop "$program"; done
if alive containerd; then end_containers; fi
end_shims
for program in containerd kube-apiserver etcd; do stop "$program"; done
unmount
restore_host
mkdir -p "$logs"
cp -f "$run"/*.log "$logs/" 2> /dev/null
rm -rf --one-file-system "$run"
echo "down; the logs of its programs are in $logs"
