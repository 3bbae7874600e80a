# shellcheck shell=bash
# What the scenarios of declared jails have in common: an upstream with a CA of its own, jails that reach it, and what is
# left of them. Sourced after lib.sh.
# shellcheck disable=SC2034 # variables are for the scenarios

# Where the upstream is: on loopback, unless it is a machine of its own.
upstream=${JAIL_VM_UPSTREAM:-127.0.0.1} token=''
ca=/run/upstream/ca.pem
# Units start slowly in an emulated machine.
patience=90

# An HTTPS server, for all scenarios; the jails are told where its names are. And the token that it gets.
start_upstream() {
  if [ "$upstream" = 127.0.0.1 ] && [ "$(systemctl is-active upstream)" != active ]; then
    systemd-run --quiet --unit=upstream bash "$CHECKS/guest/upstream.sh" "${ca%/*}" "$upstream"
  fi
  if [ ! -e /etc/credstore/token ]; then
    mkdir -p /etc/credstore /etc/nix-jail
    (umask 077 && head -c 24 /dev/urandom | base64 | tr -d '+/=' >/etc/credstore/token)
  fi
  eventually ask_upstream DELETE
  token=$(cat /etc/credstore/token)
}

# From the host, where nothing is in the way.
ask_upstream() {
  curl -fsS --cacert "$ca" --connect-to "::$upstream:8443" -X "$1" https://api.example.test:8443/.heard
}

# What the upstream was asked in this scenario, a line each: HOST PATH AUTHORIZATION
heard() {
  ask_upstream GET
}

has_heard() {
  heard | grep -qF -- "$1"
}

# describe NAME MORE JOB [WORDS…]: a jail that runs guest/jobs/JOB.sh with curl at hand, and may read api.example.test;
# MORE is JSON. A NixOS host has them by its configuration (checks/vm/*.nix), and their units too.
describe() {
  [ -z "${JAIL_VM_NIXOS:-}" ] || return 0
  python3 - "$upstream" "$@" >"/etc/nix-jail/$1.json" <<'PYTHON'
import json, os, sys
upstream, name, more, job, *words = sys.argv[1:]
with open(f"{os.environ['CHECKS']}/guest/jobs/{job}.sh") as file:
    script = file.read()
spec = {
    "version": 1,
    "name": name,
    "command": ["sh", "-c", script, job, *words],
    "programs": ["@shell", "curl"],
    "rules": [{"hosts": ["api.example.test"], "methods": ["GET"]}],
    "upstream": {
        "ca": ["/run/upstream/ca.pem"],
        "connectTo": [f"{host}.example.test:443:{upstream}:8443" for host in ("api", "other")],
    },
}
print(json.dumps(spec | json.loads("{" + more + "}")))
PYTHON
}

# The credential that systemd loads for the proxy.
with_token='"credentials": [{ "variable": "TOKEN", "sources": ["systemd:token"], "hosts": ["api.example.test"] }]'

# install NAME…: their units. On NixOS they are there, and have tried to start with the host.
install_jails() {
  if [ -n "${JAIL_VM_NIXOS:-}" ]; then
    systemctl stop "${@/#/nix-jail@}"
    local jail
    for jail in "$@"; do forget_starts "$jail"; done
    return
  fi
  as root jail units --install "$@" 2>&1 | sed 's/^/NOTE /'
}

# forget_starts NAME: five in ten seconds is all that systemd lets pass.
forget_starts() {
  # By name: a pattern is not for those that are well.
  # shellcheck disable=SC2046 # names of units are words
  systemctl reset-failed $(units_of "$1") 2>/dev/null
}

start_again() {
  forget_starts "$1"
  systemctl start "nix-jail@$1"
}

# The unit's journal of this scenario, jobs' output included.
said() {
  journalctl --quiet --output=cat --since="@$begun" --unit="$1"
}
begun=$(date +%s)

says() {
  said "$1" | grep -qF -- "$2"
}

is() {
  [ "$(systemctl is-active "$1")" = "$2" ]
}

pid_of() {
  systemctl show --property=MainPID --value "$1"
}

processes_of() {
  tr '\n' ' ' <"/sys/fs/cgroup$(systemctl show --property=ControlGroup --value "$1")/cgroup.procs"
}

# The first process of the job itself: the child of the jail's init, which is the child of the stage.
job_of() {
  local process
  process=$(pid_of "nix-jail@$1")
  for _ in 1 2 3; do process=$(pgrep -o -P "$process") || return; done
  echo "$process"
}

units_of() {
  printf '%s\n' "nix-jail@$1.service" "nix-jail-proxy@$1.service" "nix-jail-proxy@$1.socket"
}

# Nothing of the jail NAME is at work, mounted or listening.
gone() {
  local unit
  for unit in $(units_of "$1"); do
    case $(systemctl is-active "$unit") in inactive | failed) ;; *) return 1 ;; esac
  done
  ! pgrep -f "__unit (proxy|job) $1\$" && ! [ -e "/run/nix-jail-proxy/$1" ] && ! grep -q "nix-jail[a-z-]*[@/]$1[. ]" /proc/self/mountinfo
}
