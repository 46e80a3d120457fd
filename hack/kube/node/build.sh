#!/usr/bin/env bash
# Builds what the one-node cluster runs: Kubernetes, etcd, containerd, CoreDNS and what enforces NetworkPolicies from Go
# modules, runc and CNI plugins from Debian, and three images. What is there already is left as it is. 8 minutes with an
# empty build cache on 2 cores.
# Exit status 3: this machine cannot run it (the message says why).
set -euo pipefail
. "$(dirname "$0")/env.sh"
[ "$(id -u)" = 0 ] || { echo "the one-node cluster needs root: kubelet and containerd make namespaces and mounts" >&2; exit 3; }
command -v dpkg > /dev/null || { echo "the one-node cluster takes runc and CNI plugins from Debian packages" >&2; exit 3; }

"$kube/../apt-install.sh" runc containernetworking-plugins nftables conntrack debootstrap openssl gcc libc6-dev

"$kube/build.sh" etcd kube-apiserver kubectl kubelet kube-proxy kube-controller-manager kube-scheduler > /dev/null
containerd=github.com/containerd/containerd/v2
LDFLAGS="-X $containerd/version.Version=$containerd_version" "$kube/../go-build.sh" "$kube/containerd" "$containerd_bin" \
  "containerd=$containerd/cmd/containerd" "containerd-shim-runc-v2=$containerd/cmd/containerd-shim-runc-v2" "ctr=$containerd/cmd/ctr"
"$kube/../go-build.sh" "$kube/coredns" "$coredns_bin" coredns=.
"$kube/../netpol/build.sh" > /dev/null

# Images: names are localhost/NAME:TAG, never :latest, which would mean "always pull".
mkdir -p "$images"
image() { python3 "$here/image.py" "$images/$1.tar" "localhost/$2" "$3" "${@:4}"; }
if [ ! -f "$images/pause.tar" ]; then
  mkdir -p "$images/pause"
  gcc -Os -static -s -o "$images/pause/pause" "$here/pause.c"
  image pause pause:1 "$images/pause" --user 65535:65535 --entrypoint /pause
fi
if [ ! -f "$images/coredns-$coredns_version.tar" ]; then
  mkdir -p "$images/coredns"
  cp "$coredns_bin/coredns" "$images/coredns/"
  image "coredns-$coredns_version" "coredns:$coredns_version" "$images/coredns" --entrypoint /coredns
fi
# The base holds the libraries of a Python that is mounted into it from this machine, and what people debug with.
if [ ! -f "$images/base.tar" ]; then
  root="$images/base.part"
  rm -rf --one-file-system "$root"
  libraries=libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8,zlib1g,libncursesw6,libuuid1,libexpat1,libgomp1,libnuma1
  debootstrap --variant=minbase --include="ca-certificates,curl,wget,procps,iproute2,$libraries" bookworm "$root" > "$images/debootstrap.log"
  chmod 755 "$root/root" # users other than root pass through it to a mounted Python
  image base base:1 "$root" --user 65532:65532 --env HOME=/tmp --cmd /bin/bash
  rm -rf --one-file-system "$root"
fi
