#!/usr/bin/env bash
# A credential of a keychain that is not there: no job, and an error that says where else a secret may be.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

keyring=(--credential 'TOKEN=keyring:no-such-service@api.example.test')

# root and loner have no bus, agent has one without a Secret Service.
for who in root agent loner; do
  try "$who" jail run --workspace none --host sh --allow api.example.test "${keyring[@]}" -- sh -c 'echo the job ran'
  check "keyring-$who"
  exits 125
  prints_nothing
  complains_once
  complains keyring:no-such-service keychain
  complains file:
  so "$(complaint | grep -i keychain | head -n 1)"

  try "$who" env TOKEN=the-next-source jail run --quiet --workspace none --host printenv --allow api.example.test \
    "${keyring[@]}" --credential TOKEN=env:TOKEN@api.example.test -- printenv TOKEN
  check "keyring-next-$who"
  exits 0
  prints_no the-next-source
  between "$(last_line | wc -c)" 20 200
  so 'the next source is asked, the job has a dummy of it'
done
clean keyring-clean
