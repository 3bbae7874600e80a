# shellcheck shell=bash
# What scenarios have in common. They run as root on a host with systemd, where these exist: `agent` (uid 1000) with a
# user manager that lingers, `loner` (uid 1001) without one, and `jail` in the PATH.
# A result is a line `RESULT name ok|FAIL|skipped text`; any other line is for people who look for the reason.

set -u
cd /
code=0 name='' wrong='' seen=''
# Seconds that what is awaited may take.
patience=30
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# as WHO COMMAND…: WHO is root, agent (as in a session), service (of agent's user manager) or loner.
as() {
  local who=$1 path=${JAIL_VM_PATH:-/usr/local/bin:/usr/bin:/bin}
  shift
  case $who in
    root) env -i PATH="/usr/local/sbin:/usr/sbin:/sbin:$path" HOME=/root "$@" ;;
    agent) setpriv --reuid agent --regid agent --init-groups env -i PATH="$path" HOME=/home/agent XDG_RUNTIME_DIR=/run/user/1000 \
      DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus "$@" ;;
    service) as agent systemd-run --user --quiet --collect --pipe --wait "$@" ;;
    loner) setpriv --reuid loner --regid loner --init-groups env -i PATH="$path" HOME=/home/loner "$@" ;;
  esac
}

# try WHO COMMAND…: runs it; the expectations below are about what came of it.
try() {
  as "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
  code=$?
}

# The same in the background; `wait` is for its end.
start() {
  : >"$scratch/out"
  as "$@" >"$scratch/out" 2>"$scratch/err" </dev/null &
}

started() {
  eventually grep -q started "$scratch/out"
}

# Waits for what was started last.
ended() {
  wait $!
  code=$?
}

# look WHO COMMAND…: what it prints, beside something that was started.
look() {
  seen=$(as "$@" 2>&1 </dev/null)
}

shows() {
  holds "$seen" "$@" || wrong+="not shown: $* in: $seen; "
}

result() {
  printf 'RESULT %s %s %s\n' "$1" "$2" "$3"
}

# A case begins with `check NAME`, then come expectations, and `so TEXT` ends it: ok if all of them held.
check() {
  name=$1 wrong=''
}

exits() {
  [ "$code" = "$1" ] || wrong+="exit code $code instead of $1; "
}

fails() {
  [ "$code" != 0 ] || wrong+='it did not fail; '
}

# Parts in this order.
prints() {
  holds "$(cat "$scratch/out")" "$@" || wrong+="standard output without: $*; "
}

prints_no() {
  ! holds "$(cat "$scratch/out")" "$1" || wrong+="standard output with: $1; "
}

prints_nothing() {
  [ ! -s "$scratch/out" ] || wrong+='standard output not empty; '
}

complains() {
  holds "$(cat "$scratch/err")" "$@" || wrong+="standard error without: $*; "
}

complains_not() {
  ! holds "$(cat "$scratch/err")" "$1" || wrong+="standard error with: $1; "
}

complains_nothing() {
  [ ! -s "$scratch/err" ] || wrong+='standard error not empty; '
}

# One error of at most four lines, the jail's own, and nothing that looks like a defect.
complains_once() {
  local lines own
  lines=$(wc -l <"$scratch/err")
  own=$(grep -c '^jail: ' "$scratch/err")
  [ "$lines" = "$own" ] || wrong+='not all of standard error is the jail'"'"'s; '
  between "$lines" 1 4
  complains_not panicked
}

between() {
  [ "${1:-0}" -ge "$2" ] && [ "${1:-0}" -le "$3" ] || wrong+="$1 is not between $2 and $3; "
}

same() {
  [ "$1" = "$2" ] || wrong+="$1 instead of $2; "
}

# In time the command succeeds.
in_time() {
  eventually "$@" || wrong+="never $*; "
}

so() {
  if [ -z "$wrong" ]; then
    result "$name" ok "$1"
  else
    result "$name" FAIL "$wrong"
    printf 'exit code %s\n%s\n%s\n' "$code" "$(tail -n 20 "$scratch/out")" "$(tail -n 20 "$scratch/err")" | sed 's/^/NOTE /'
  fi
}

holds() {
  local rest=$1 part
  shift
  for part in "$@"; do
    case $rest in
      *"$part"*) rest=${rest#*"$part"} ;;
      *) return 1 ;;
    esac
  done
}

complaint() {
  cat "$scratch/err"
}

last_line() {
  tail -n 1 "$scratch/out"
}

# Waits until the command succeeds.
eventually() {
  local deadline=$((SECONDS + patience))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# What jobs have left on this host: processes, control groups, scopes.
left() {
  pgrep -a 'jail|exe' || true
  find /sys/fs/cgroup -name 'nix-jail-*' -o -name 'run-*.scope'
  for manager in 'root systemctl' 'agent systemctl --user'; do
    # shellcheck disable=SC2086 # words
    as $manager list-units --all --plain --no-legend 'run-*.scope' 'nix-jail-*.scope'
  done
}

nothing_left() {
  [ -z "$(left)" ]
}

# clean NAME: that nothing is left.
clean() {
  if eventually nothing_left; then
    result "$1" ok "no process, no control group, no scope is left"
  else
    result "$1" FAIL "left behind: $(left | tr '\n' ';')"
    # The next one shall not be blamed for it.
    find /sys/fs/cgroup -depth -name 'nix-jail-*' -exec rmdir {} \; 2>/dev/null
  fi
}
