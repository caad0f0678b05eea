#!/bin/sh
# Runs every test, in two processes side by side: the walks from end to end, which wait for servers
# most of the time, and all others. What the walks say comes after the others.
# usage: tests/run.sh BIN     (BIN holds pytest)
set -u

bin=$1
log=$(mktemp)
"$bin/pytest" -p no:cacheprovider tests/walk >"$log" 2>&1 &
walks=$!
trap 'kill "$walks" 2>/dev/null; rm -f "$log"' EXIT
trap 'exit 130' INT TERM

"$bin/pytest" --ignore=tests/walk
others=$?
wait "$walks"
walked=$?
cat "$log"
[ "$others" -eq 0 ] && [ "$walked" -eq 0 ]
