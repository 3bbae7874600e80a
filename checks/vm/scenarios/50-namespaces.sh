#!/usr/bin/env bash
# A host that forbids user namespaces: one error that says what to do, exit code 125, and what it says helps.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

job=(jail run --workspace none --memory 64M --host true -- true)

before=$(cat /proc/sys/user/max_user_namespaces)
sysctl -q user.max_user_namespaces=0
for who in root agent loner; do
  try "$who" "${job[@]}"
  check "switched-off-$who"
  exits 125
  prints_nothing
  complains_once
  complains 'forbids user namespaces' 'sysctl user.max_user_namespaces='
  so 'one error with its cure'
done
cure=$(complaint | grep -o 'user.max_user_namespaces=[0-9]*' | head -n 1)

try agent jail doctor
check switched-off-doctor
exits 1
prints 'MISSING   user namespaces' 'sysctl user.max_user_namespaces='
so 'jail doctor says the same'
clean switched-off-clean

sysctl -q "$cure"
try agent "${job[@]}"
check switched-on
exits 0
so "with sysctl $cure it works"
sysctl -q user.max_user_namespaces="$before"
