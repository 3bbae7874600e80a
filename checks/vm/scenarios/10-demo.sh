#!/usr/bin/env bash
# The demo observes what it claims, whoever starts it.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

for who in root agent loner; do
  try "$who" jail demo
  check "demo-$who"
  exits 0
  prints 'All of it was observed'
  so 'all of it was observed'
done
clean demo-clean
