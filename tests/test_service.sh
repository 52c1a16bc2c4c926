#!/bin/sh
# The systemd unit is well-formed and stays as closed as it was: systemd's own judgement, from 0 (closed)
# to 10, is at most 1.5.
set -eu
unit=$(cd "$(dirname "$0")/.." && pwd)/cluster/netlockd.service

if ! command -v systemd-analyze >/dev/null || ! systemd-analyze security --help | grep -q -- --offline; then
    echo "skipped: no systemd-analyze that judges files"
    exit 77
fi
# That neither netlockd nor its manual is installed on this machine is no mistake of the unit.
problems=$(systemd-analyze verify "$unit" 2>&1 | grep "netlockd" | grep -v -e "is not executable" -e "Command .man " || true)
if [ -n "$problems" ]; then
    echo "$problems"
    exit 1
fi
systemd-analyze security --offline=true --no-pager --threshold=15 "$unit"
