# shellcheck shell=bash
# Parts of the end-to-end suite as scenarios. Sourced after lib.sh.

suite=$(command -v nix-jail-end-to-end || echo "$CHECKS/end_to_end")

# suite NAME WHO BACKEND LEAST TESTS…: at least so many tests pass, and nothing is left of them.
suite() {
  local name=$1 who=$2 backend=$3 least=$4 runtime_directory=
  shift 4
  if [ ! -x "$suite" ]; then
    result "$name" skipped 'the suite did not come along (JAIL_TESTS names it)'
    return
  fi
  # The user's systemd is found by it.
  if [ "$who" = agent ]; then runtime_directory=/run/user/1000; fi
  try "$who" env XDG_RUNTIME_DIR="$runtime_directory" JAIL_TEST_BACKEND="$backend" JAIL_TEST_PROGRAM="$(command -v jail)" \
    "$suite" --test-threads 4 "$@"
  check "$name"
  exits 0
  between "$(passed)" "$least" 1000
  so "$(passed) tests by $who, each in a jail of its own"
  # systemd-run says nothing of a job that systemd took and did not do.
  if [ "${code:?}" != 0 ]; then journalctl --boot --no-pager --lines=60 | grep -v Consumed | sed 's/^/NOTE /'; fi
  clean "$name-clean"
}

passed() {
  sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "${scratch:?}/out"
}
