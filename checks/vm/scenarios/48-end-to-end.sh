#!/usr/bin/env bash
# A part of the end-to-end suite, each job in a unit of systemd, root's and a user's. (All of it takes too long on an
# emulated processor; it runs by the native backend, which makes the same jails.)
# shellcheck source=/dev/null
source "$CHECKS/guest/lib.sh"

passed() {
  sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "${scratch:?}/out"
}

# suite WHO TESTS…
suite() {
  local who=$1 runtime_directory=
  shift
  if [ "$who" = agent ]; then runtime_directory=/run/user/1000; fi
  try "$who" env XDG_RUNTIME_DIR="$runtime_directory" JAIL_TEST_BACKEND=systemd JAIL_TEST_PROGRAM=/usr/local/bin/jail \
    "$CHECKS/end_to_end" --test-threads 4 "$@"
  check "end-to-end-$who"
  exits 0
  between "$(passed)" 8 1000
  so "$(passed) tests, each job in a unit"
  # systemd-run says nothing of a job that systemd took and did not do.
  if [ "${code:?}" != 0 ]; then journalctl --boot --no-pager --lines=60 | grep -v Consumed | sed 's/^/NOTE /'; fi
  clean "end-to-end-clean-$who"
}

if [ -x "$CHECKS/end_to_end" ]; then
  # That one gives its job a second, which is less than an emulated processor may need.
  suite root process:: --skip a_job_whose_time_is_up
  suite agent jobs::
else
  result end-to-end skipped 'the suite did not come along (JAIL_TESTS names it)'
fi
