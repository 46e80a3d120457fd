#!/bin/sh
# layer.sh NAME: compiles what came since the last layer, and links it into /layers/NAME.
. "$(dirname "$0")/common.sh"
mkdir -p "$LAYERS/$1"

files() { find "$HOME_OF_PYTHON" ! -type d ! -name .lock | LC_ALL=C sort; }

files > /build/now
LC_ALL=C comm -13 /build/seen /build/now | grep '\.py$' > /build/sources || true
# Unchecked: the sources beside them never change, and the root file system is read-only. A file that this Python cannot
# compile (templates, other versions' syntax) stays a source, as with any installer.
"$HOME_OF_PYTHON/bin/python" -m compileall -q -f --invalidation-mode unchecked-hash -i /build/sources > /build/compile.log || true
files > /build/now
LC_ALL=C comm -13 /build/seen /build/now > /build/new
# Linked, not copied: a layer of the build would else hold all of it twice.
(cd / && sed 's|^/||' /build/new | tr '\n' '\0' | xargs -0 -r cp -d -l --parents -t "$LAYERS/$1")
mv /build/now /build/seen
