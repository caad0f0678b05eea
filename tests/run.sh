#!/bin/sh
# Runs every test, in three processes side by side that take about as long: the walks from end to
# end, which wait for servers much of the time; the edge and the pages; all others. What the first
# two say comes after the others.
# usage: tests/run.sh BIN     (BIN holds pytest)
set -u

bin=$1
logs=$(mktemp -d)
"$bin/pytest" -p no:cacheprovider tests/walk >"$logs/walk" 2>&1 &
walk=$!
"$bin/pytest" -p no:cacheprovider tests/edge tests/docs >"$logs/edge" 2>&1 &
edge=$!
trap 'kill "$walk" "$edge" 2>/dev/null; rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM

"$bin/pytest" --ignore=tests/walk --ignore=tests/edge --ignore=tests/docs
failed=$?
wait "$edge" || failed=1
cat "$logs/edge"
wait "$walk" || failed=1
cat "$logs/walk"
exit "$failed"
