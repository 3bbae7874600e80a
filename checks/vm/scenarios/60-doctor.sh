#!/usr/bin/env bash
# What jail doctor says of this host.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

IFS=. read -r major minor _ < <(uname -r)
for who in root agent service; do
  try "$who" jail doctor
  check "doctor-$who"
  exits 0
  prints "ok        Linux $major.$minor " 'ok        user namespaces' 'ok        Landlock' 'ok        control groups' 'can run jails'
  so "Linux $major.$minor, user namespaces, Landlock and control groups are all there"
done
clean doctor-clean
