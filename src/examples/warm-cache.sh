#!/bin/sh
# warm-cache - a cache is empty, many need it, and filling it is expensive: one process fills it.
#
#     warm-cache.sh [--no-lock] [USERS]
#
# USERS (6) processes need the cache at once. Each looks whether it is there; if not, it takes the lock
# and looks again: who had to wait for the lock finds what the first one made. --no-lock shows what
# happens without. The last line is the verdict; exit status 0: filled once and used by everybody,
# 1: filled more often, 2: the demonstration itself failed. $NETLOCK names the command line program.
set -eu

netlock=${NETLOCK:-netlock}
locked=yes

if [ "${1:-}" = --no-lock ]; then
    locked=no
    shift
fi
users=${1:-6}
case $users in
'' | *[!0-9]*)
    echo "usage: warm-cache.sh [--no-lock] [USERS]" >&2
    exit 64
    ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cache=$scratch/cache
: >"$scratch/fillings"
: >"$scratch/uses"

# Fill the cache unless it is there. Renamed into place, so that nobody sees half of it.
# shellcheck disable=SC2016 # expanded by the inner shell
fill='[ -e "$0/cache" ] && exit 0
echo "$$" >>"$0/fillings"
sleep 0.5
echo result >"$0/cache.$$" && mv "$0/cache.$$" "$0/cache"'

use() {
    if [ ! -e "$cache" ]; then
        if [ "$locked" = yes ]; then
            "$netlock" run warm-cache -- sh -c "$fill" "$scratch"
        else
            sh -c "$fill" "$scratch"
        fi
    fi
    cat "$cache" >>"$scratch/uses"
}

started=0
while [ "$started" -lt "$users" ]; do
    use &
    started=$((started + 1))
done
wait

fillings=$(wc -l <"$scratch/fillings")
uses=$(wc -l <"$scratch/uses")
echo "VERDICT: filled $((fillings)) times, used by $((uses)) of $users"
[ "$((uses))" -eq "$users" ] || exit 2
[ "$((fillings))" -eq 1 ]
