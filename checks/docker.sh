#!/usr/bin/env bash
# Runs the end-to-end suite with jails made by Docker, as an ordinary user in its group; a part of it through the relay for
# engines on other kernels, and a part with Podman as root. Compares the time of a start with `docker run`. Starts an engine
# of its own, whose data, sockets and processes are in a temporary directory and end with the check. At the end it kills
# this engine while a job runs. Exit code 77: it cannot run here.
set -eu
cd "$(dirname "$0")/.."

cache=${NIX_JAIL_CACHE:-/var/cache/nix-jail-checks}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
# Races and load tests take minutes where every start is a container's; checks of the proxy need no second run.
skipped_tests=(--skip attacks::exhaustion --skip attacks::memory --skip attacks::http --skip attacks::echo --skip streaming --skip mistakes)

main() {
  [ "$(id -u)" = 0 ] || skip "an engine of one's own is started by root"
  [ -x /usr/sbin/dockerd ] || [ -x /usr/bin/dockerd ] || get_package docker.io || skip "docker.io is not installed and could not be"
  command -v docker >/dev/null || skip "there is no docker command"
  getent group docker >/dev/null || skip "there is no group docker"
  build
  start_engine
  suite_of_docker
  suite_of_relay
  suite_of_podman
  compare_starts
  engine_dies
}

skip() {
  echo "skipped: $*"
  exit 77
}

get_package() {
  command -v apt-get >/dev/null || return 1
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$directory/apt.log" 2>&1
}

build() {
  suite=$(cargo test --manifest-path rust/Cargo.toml --locked --no-run --message-format=json -p nix-jail --test end_to_end 2>/dev/null |
    sed -n 's/.*"kind":\["test"\].*"executable":"\([^"]*\)".*/\1/p')
  jail=$CARGO_TARGET_DIR/debug/jail
  [ -x "$suite" ] && [ -x "$jail" ]
}

start_engine() {
  # No bridge and no firewall rules on the host: jobs need neither.
  dockerd --data-root "$directory/data" --exec-root "$directory/exec" --host "unix://$socket" --group docker \
    --pidfile "$directory/pid" --bridge none --iptables=false --ip6tables=false >"$directory/log" 2>&1 &
  engine=$!
  export DOCKER_HOST=unix://$socket
  # shellcheck disable=SC2016 # for the inner shell
  timeout 60 bash -c 'until docker version; do kill -0 "$1" || exit 1; done' wait "$engine" >/dev/null 2>&1 && return
  tail -n 5 "$directory/log"
  skip "dockerd does not start here"
}

suite_of_docker() {
  user=jailcheck home=$directory/home
  id "$user" >/dev/null 2>&1 || useradd --system --shell /bin/bash --home-dir "$cache/home" "$user"
  install -d -o "$user" -m 700 "$home"
  chmod a+rx "$CARGO_TARGET_DIR" "$CARGO_TARGET_DIR/debug" "$CARGO_TARGET_DIR/debug/deps"
  echo "--- docker $(docker version --format '{{.Server.Version}}'), as $user"
  suite_as_user "${skipped_tests[@]}"
}

# What the network, streams and terminals go through, attacks and streams of the proxy's included.
suite_of_relay() {
  echo "--- docker, relayed as if it were on another kernel"
  suite_as_user JAIL_TEST_RELAY=1 relay:: containers:: process:: terminal:: isolation:: curl:: clients:: streaming:: credentials:: tunnels:: \
    attacks::isolation attacks::network attacks::processes attacks::exhaustion attacks::outside files::
}

# Arguments with `=` are environment variables of the suite.
suite_as_user() {
  local variables=() tests=() word
  for word in "$@"; do
    case $word in *=*) variables+=("$word") ;; *) tests+=("$word") ;; esac
  done
  (cd rust/jail && timeout --kill-after=30 1800 setpriv --reuid "$user" --regid "$user" --groups docker \
    env -i HOME="$home" PATH=/usr/local/bin:/usr/bin:/bin DOCKER_HOST="$DOCKER_HOST" JAIL_TEST_BACKEND=docker \
    NIX_JAIL_SKIPPED="${NIX_JAIL_SKIPPED:-/dev/null}" \
    "${variables[@]}" "$suite" --test-threads=4 "${tests[@]}")
}

suite_of_podman() {
  command -v podman >/dev/null || get_package podman || { echo "--- podman: skipped, not installed and could not be"; return 0; }
  echo "--- $(podman --version), as root: what writes to a directory of root's is refused, and left out"
  (cd rust/jail && env JAIL_TEST_BACKEND=podman timeout --kill-after=30 1200 "$suite" --test-threads=2 containers:: relay::)
}

# Alternates both, so that they run under the same load, and compares the medians.
compare_starts() {
  local image
  # docker creates a missing bind source as a directory.
  [ -x /usr/bin/busybox ] || get_package busybox-static || { echo "--- starts: skipped, busybox is not installed and could not be"; return 0; }
  image=$(docker images --filter label=nix-jail.root --quiet | head -n 1)
  for _ in $(seq 11); do
    measure docker docker run --rm --network none --read-only --volume /usr/bin/busybox:/busybox:ro "$image" /busybox true
    measure jail "$jail" run --quiet --backend docker --workspace none --host true -- true
  done
  echo "--- start to exit of true: docker run $(median docker) ms, jail $(median jail) ms"
}

# The job ends when its engine is killed, and the next command removes its remains from the engine.
engine_dies() {
  local project=$directory/dies code=0 launcher
  echo "--- the engine is killed while a job is at work"
  install -d -o jailcheck -m 700 "$project" "$project/runtime"
  mkfifo "$project/said"
  as_jailcheck run --quiet --backend docker --host @shell -- sh -c 'echo ready; exec sleep 600' >"$project/said" 2>"$project/errors" &
  launcher=$!
  timeout 30 grep -q --max-count 1 ready "$project/said" || fail "the job does not start: $(cat "$project/errors")"
  kill -KILL "$engine"
  wait "$engine" || true
  timeout 60 tail --pid="$launcher" -f /dev/null || fail "the job goes on without its engine"
  wait "$launcher" || code=$?
  # Its containerd has died with it; the new one would wait for that process as long as nobody has reaped it.
  rm -f "$directory/exec/containerd/containerd.pid"
  start_engine
  as_jailcheck ps >/dev/null
  [ "$code" = 125 ] || fail "exit code $code: $(cat "$project/errors")"
  grep -q 'docker stopped working' "$project/errors" || fail "its end says: $(cat "$project/errors")"
  [ -z "$(docker ps --all --quiet)$(docker volume ls --quiet)" ] || fail "left: $(docker ps --all)"
  [ -z "$(find "$project/runtime" -type f)" ] || fail "left: $(find "$project/runtime" -type f)"
}

as_jailcheck() {
  (cd "$directory/dies" && exec setpriv --reuid jailcheck --regid jailcheck --groups docker \
    env -i HOME="$directory/home" XDG_RUNTIME_DIR="$directory/dies/runtime" PATH=/usr/local/bin:/usr/bin:/bin \
    DOCKER_HOST="$DOCKER_HOST" "$jail" "$@")
}

fail() {
  echo "failed: $*"
  exit 1
}

measure() {
  local name=$1 before
  shift
  before=$(date +%s%N)
  "$@"
  echo $((($(date +%s%N) - before) / 1000000)) >>"$directory/$name.ms"
}

median() {
  sort -n "$directory/$1.ms" | sed -n 6p
}

stop() {
  [ -z "$engine" ] || { kill "$engine"; wait "$engine"; } || true
  # Killed engines leave these, one each.
  umount --recursive "$directory/data" 2>/dev/null || true
  rm -rf "$directory"
}

engine=
directory=$(mktemp -d)
chmod 755 "$directory"
socket=$directory/docker.sock
trap stop EXIT
main
