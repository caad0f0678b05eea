#!/bin/sh
# Runs every test, in four processes side by side that take about as long: the walks from end to
# end, which wait for servers much of the time, in two; the edge and the pages; all others. What
# the first three say comes after the others.
# usage: tests/run.sh BIN     (BIN holds pytest)
set -u

bin=$1
logs=$(mktemp -d)
running=
long="main_job server"

begin() { # begin NAME ARGUMENT... : one of them, in the background
    name=$1
    shift
    "$bin/pytest" -p no:cacheprovider "$@" >"$logs/$name" 2>&1 &
    running="$running $!:$name"
}

begin walk-long $(printf 'tests/walk/test_%s.py ' $long)
begin walk tests/walk $(printf -- '--ignore=tests/walk/test_%s.py ' $long)
begin edge tests/edge tests/docs
trap 'for each in $running; do kill "${each%%:*}" 2>/dev/null; done; rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM

"$bin/pytest" --ignore=tests/walk --ignore=tests/edge --ignore=tests/docs
failed=$?
for each in $running; do
    wait "${each%%:*}" || failed=1
    cat "$logs/${each#*:}"
done
exit "$failed"
