#!/usr/bin/env bash
# --backend systemd where systemd cannot have the job: one error with its cure, and nobody else makes the jail.
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

mkdir -p /tmp/old
printf '#!/bin/sh\necho systemd 245 "(245.4)"\n' >/tmp/old/systemd-run
chmod +x /tmp/old/systemd-run
job=(jail run --backend systemd --workspace none --host sh -- sh -c 'echo the job ran')
# In its place: PATH is not where a program of the system is looked for.
mount --bind /tmp/old/systemd-run /usr/bin/systemd-run
try agent "${job[@]}"
umount /usr/bin/systemd-run
check old-systemd
exits 125
prints_nothing
complains_once
complains 'systemd 245 is too old' 252
so 'an old systemd: an error, no job'
try loner "${job[@]}"
check no-manager
exits 125
prints_nothing
complains_once
complains 'no systemd answers' 'enable-linger'
so 'no systemd of this user: an error, no job'
for who in root agent; do
  try "$who" jail doctor
  check "doctor-systemd-$who"
  exits 0
  prints 'systemd backend' 'ok        '
  so 'jail doctor knows the backend'
done
clean refused-clean
