# shellcheck shell=bash
# What the scenarios of declared jails have in common: an upstream with a CA of its own, jails that reach it, and what is
# left of them. Sourced after lib.sh.
# shellcheck disable=SC2034 # variables are for the scenarios

upstream=/run/upstream token=''
# Units start slowly in an emulated machine.
patience=90

# An HTTPS server on loopback, for all scenarios; the jails are told where its names are. And the token that it gets.
start_upstream() {
  if [ "$(systemctl is-active upstream)" != active ]; then
    mkdir -p "$upstream" && cd "$upstream" || return
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=scenario CA' -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=api.example.test -keyout server.key -out server.csr 2>/dev/null
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out server.pem \
      -extfile <(echo 'subjectAltName=DNS:api.example.test,DNS:other.example.test') 2>/dev/null
    systemd-run --quiet --unit=upstream --working-directory="$upstream" \
      python3 "$CHECKS/guest/upstream.py" 127.0.0.1 8443 server.pem server.key "$upstream/log"
    mkdir -p /etc/credstore /etc/nix-jail
    (umask 077 && head -c 24 /dev/urandom | base64 | tr -d '+/=' >/etc/credstore/token)
    cd / && eventually curl -s --cacert "$upstream/ca.pem" --resolve api.example.test:8443:127.0.0.1 https://api.example.test:8443/
  fi
  : >"$upstream/log"
  token=$(cat /etc/credstore/token)
}

# describe NAME MORE SCRIPT: a jail that runs a script with curl at hand, and may read api.example.test; MORE is JSON.
# A NixOS host has them by its configuration, and their units too.
describe() {
  [ -z "${JAIL_VM_NIXOS:-}" ] || return 0
  python3 - "$@" >"/etc/nix-jail/$1.json" <<'PYTHON'
import json, sys
name, more, script = sys.argv[1:]
spec = {
    "version": 1,
    "name": name,
    "command": ["sh", "-c", script],
    "programs": ["@shell", "curl"],
    "rules": [{"hosts": ["api.example.test"], "methods": ["GET"]}],
    "upstream": {
        "ca": ["/run/upstream/ca.pem"],
        "connectTo": ["api.example.test:443:127.0.0.1:8443", "other.example.test:443:127.0.0.1:8443"],
    },
}
print(json.dumps(spec | json.loads("{" + more + "}")))
PYTHON
}

# The credential that systemd loads for the proxy.
with_token='"credentials": [{ "variable": "TOKEN", "sources": ["systemd:token"], "hosts": ["api.example.test"] }]'

# install NAME…: their units.
install_jails() {
  [ -z "${JAIL_VM_NIXOS:-}" ] || return 0
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
  ! pgrep -f "__unit (proxy|job) $1\$" && ! [ -e "/run/nix-jail-proxy/$1" ] && ! grep -q nix-jail /proc/self/mountinfo
}
