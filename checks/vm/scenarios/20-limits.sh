#!/usr/bin/env bash
# Limits on memory and processes hold where there is a systemd or a control group of one's own, and jobs leave nothing
# behind, whoever started them. Every limit has its control: the same without it works.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

# dd fills its buffer, so it needs as much memory as that is large.
hog() {
  echo "dd if=/dev/zero of=/dev/null bs=$1 count=1 2>/dev/null"
}
# Says how many processes could be started beside its shell.
bomb="$CHECKS/guest/bomb.sh"

job() {
  local who=$1
  shift
  try "$who" jail run --quiet --workspace none --host sh --host dd --host sleep --ro-bind "$bomb" "$@"
}

job agent -- sh -c "$(hog 200M)"
check memory-unlimited
exits 0
so '200 MB without a limit'

job agent -- sh "$bomb"
check pids-unlimited
exits 0
same "$(last_line)" 100
so '100 processes without a limit'

for who in root agent service; do
  job "$who" --memory 64M -- sh -c "$(hog 16M)"
  check "memory-below-$who"
  exits 0
  complains_nothing
  so '16 MB within 64 MB'

  # A part of the job is killed first, then the job itself.
  job "$who" --memory 64M -- sh -c "$(hog 200M); echo part=\$?; exec $(hog 200M)"
  check "memory-killed-$who"
  exits 137
  prints 'part=137'
  complains_nothing
  so '200 MB within 64 MB are killed, and only what needs them'

  job "$who" --pids 32 -- sh "$bomb"
  check "pids-bounded-$who"
  fails
  between "$(last_line)" 20 31
  so "--pids 32: a bomb could start $(last_line)"

  clean "limits-clean-$who"
done
