#!/bin/sh
# cluster/local: a node that was killed and started again at once is back with the others.
#   tests/test_local.sh BUILD
set -eu
[ -n "${KEPT_PORT-}" ] || exec "$(dirname "$0")/kept_port.py" 22 "$0" "$@"
local_=$(cd "$(dirname "$0")/../cluster" && pwd)/local
build=$1
dir=$(mktemp -d)
base=$KEPT_PORT
export NETLOCK_SERVERS="127.0.0.1:$base,127.0.0.1:$((base + 10)),127.0.0.1:$((base + 20))"

cluster() {
    "$local_" "$@" --dir "$dir/cluster" --base-port "$base" --netlockd "$build/src/netlockd" >"$dir/out" 2>&1 ||
        { cat "$dir/out"; exit 1; }
}
all_equal() {
    for _ in $(seq 1 50); do
        "$build/src/netlock" cluster status --verify >"$dir/out" 2>&1 && grep -q "EQUAL: 3 of 3" "$dir/out" && return
        sleep 0.2
    done
    cat "$dir/out"
    return 1
}
trap 'cluster wipe; rm -rf "$dir"' EXIT

cluster start
all_equal
for node in 1 2 3 1 2; do
    cluster kill $node
    cluster start
    all_equal
done
cluster wipe
[ ! -e "$dir/cluster" ]
echo "7 passed, 0 failed"
