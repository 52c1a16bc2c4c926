#!/bin/sh
# cron-limit - many cron jobs start at the same minute; at most three may run at once.
#
#     cron-limit.sh [--loop | --counting | --no-lock] [JOBS]
#
# --loop      three ordinary locks, cron.1 to cron.3, tried one after the other; a job that finds all
#             taken leaves its work to the next minute. Needs nothing but "try".
# --counting  one counting lock with three places, which queues the others (default).
# --no-lock   what happens without.
#
# JOBS (9) jobs are started at once. The last line is the verdict; exit status 0: never more than
# three, 1: more, 2: the demonstration itself failed. $NETLOCK names the command line program.
set -eu

netlock=${NETLOCK:-netlock}
limit=3
mode=--counting
taken=75 # an exit status that the job itself does not use

case ${1:-} in
--loop | --counting | --no-lock)
    mode=$1
    shift
    ;;
esac
jobs=${1:-9}
case $jobs in
'' | *[!0-9]*)
    echo "usage: cron-limit.sh [--loop | --counting | --no-lock] [JOBS]" >&2
    exit 64
    ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/running"
: >"$scratch/seen"
: >"$scratch/failed"

# The job: be there for a moment, and note how many are.
# shellcheck disable=SC2016 # expanded by the inner shell
job='mkdir "$0/running/$$"; ls "$0/running" | wc -l >>"$0/seen"; sleep 0.3; rmdir "$0/running/$$"'

loop() {
    place=1
    while [ "$place" -le "$limit" ]; do
        status=0
        "$netlock" run -n -E "$taken" "cron.$place" -- sh -c "$job" "$scratch" || status=$?
        [ "$status" -ne "$taken" ] && return "$status"
        place=$((place + 1))
    done
    return 0 # all taken: not this time
}

counting() {
    "$netlock" run --limit "$limit" cron -- sh -c "$job" "$scratch"
}

start() {
    case $mode in
    --loop) loop ;;
    --counting) counting ;;
    --no-lock) sh -c "$job" "$scratch" ;;
    esac
}

started=0
while [ "$started" -lt "$jobs" ]; do
    { start || echo "job $started" >>"$scratch/failed"; } &
    started=$((started + 1))
done
wait

if [ -s "$scratch/failed" ]; then
    echo "cron-limit: failed: $(tr '\n' ' ' <"$scratch/failed")" >&2
    exit 2
fi
ran=$(wc -l <"$scratch/seen")
most=$(sort -n "$scratch/seen" | tail -n 1)
echo "VERDICT: $((ran)) of $jobs jobs ran, at most $((most)) at once, allowed $limit"
[ "$((most))" -le "$limit" ]
