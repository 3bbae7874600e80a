#!/usr/bin/env bash
# Runs an exported jail in containers, as its pod would: what is allowed works, and nothing else leaves the pod.
# The pod's network is connected to another namespace; the host's network is not touched.
# Exit code 77: it cannot run here.
#   checks/oci.sh                    builds the static program
#   STATIC_JAIL=…/jail checks/oci.sh
set -euo pipefail
cd "$(dirname "$0")/.."
pod=nix-jail-pod-$$ outside=nix-jail-out-$$

main() {
  [ "$(uname -s)" = Linux ] || skip "the pod's containers are Linux ones"
  [ "$(id -u)" = 0 ] || skip "containers and their network need root"
  have_programs
  jail=${STATIC_JAIL:-$(bash checks/static.sh build)}
  # In lower case, because podman uses it as a name.
  place=/tmp/nix-jail-oci-$$
  mkdir -m 711 "$place"
  trap clean_up EXIT
  engine=(podman --root "$place/containers" --runroot "$place/run" --cgroup-manager cgroupfs --events-backend file --storage-driver vfs)
  network
  certificates
  export_jail
  validate
  job_image=$("${engine[@]}" pull --quiet "oci:$place/jail/oci:oci-check")
  proxy_image=$("${engine[@]}" pull --quiet "oci:$place/jail/oci:oci-check-proxy")
  run_pod
  judge
}

skip() {
  echo "skipped: $*"
  exit 77
}

have_programs() {
  local packages=() pair
  for pair in podman:podman runc:runc curl:curl perl:perl-base openssl:openssl python3:python3 ip:iproute2 jq:jq; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
  done
  [ "${#packages[@]}" = 0 ] && return
  command -v apt-get >/dev/null || skip "not installed: ${packages[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 ||
    skip "could not be installed: ${packages[*]}"
}

clean_up() {
  "${engine[@]}" rm --all --force --time 1 >/dev/null 2>&1 || true
  [ -z "${servers:-}" ] || kill "$servers" 2>/dev/null || true
  ip netns delete "$pod" 2>/dev/null || true
  ip netns delete "$outside" 2>/dev/null || true
  rm -rf "$place"
}

network() {
  ip netns add "$pod"
  ip netns add "$outside"
  ip -n "$pod" link add eth0 type veth peer name eth0 netns "$outside"
  ip -n "$outside" address add 10.99.0.1/24 dev eth0
  ip -n "$outside" address add 93.184.216.34/32 dev lo
  ip -n "$pod" address add 10.99.0.2/24 dev eth0
  for namespace in "$pod" "$outside"; do
    ip -n "$namespace" link set lo up
    ip -n "$namespace" link set eth0 up
  done
  ip -n "$pod" route add default via 10.99.0.1
  # Where the kernel has IPv6 the pod has it.
  ip -n "$outside" address add 2001:db8:99::1/64 dev eth0 nodad 2>/dev/null || true
  ip -n "$pod" address add 2001:db8:99::2/64 dev eth0 nodad 2>/dev/null || true
  # The pod's own setting in its manifest.
  ip netns exec "$pod" sysctl -q net.ipv4.ip_unprivileged_port_start=53
}

certificates() {
  local new=(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1)
  "${new[@]}" -subj "/CN=the check's CA" -keyout "$place/ca-key" -out "$place/ca"
  "${new[@]}" -subj /CN=api.pod.test -addext subjectAltName=DNS:api.pod.test -addext basicConstraints=critical,CA:FALSE \
    -CA "$place/ca" -CAkey "$place/ca-key" -keyout "$place/key" -out "$place/certificate"
} 2>/dev/null

export_jail() {
  local job=(--host bash --host curl --host perl --host grep --host tr --host touch)
  cat >"$place/oci-check.json" <<'JSON'
{ "version": 1, "name": "oci-check", "command": ["bash"], "limits": { "memory": "512M", "cpus": 1.5, "timeout": "10m" } }
JSON
  job+=(--allow api.pod.test --credential API_TOKEN=env:API_TOKEN@api.pod.test --upstream-ca "$place/ca")
  JAIL_PATH=$place "$jail" export-oci oci-check "${job[@]}" --output "$place/jail" -- bash /workspace/job.sh
  JAIL_PATH=$place "$jail" export-oci oci-check "${job[@]}" --output "$place/again" -- bash /workspace/job.sh >/dev/null
  diff --recursive "$place/jail" "$place/again"
  rm -r "$place/again"
  echo "exported twice, the same both times: $(du -sh "$place/jail" | cut -f1)"
}

# By the types of the OCI and Kubernetes specifications, in a program of its own: nobody else has to build them.
validate() {
  cargo run --quiet --locked --manifest-path checks/oci/validate/Cargo.toml -- "$place/jail"
}

# container NAME IMAGE USER ARGUMENTS…: with the rights that the manifest gives the container of that name.
container() {
  local name=$1 image=$2
  shift 2
  local user capability limits=(--ulimit nofile=1024:4096 --ulimit nproc=2048:2048)
  user=$(of_container "$name" '"\(.securityContext.runAsUser):\(.securityContext.runAsGroup)"')
  for capability in $(of_container "$name" '.securityContext.capabilities.add // [] | .[]'); do limits+=(--cap-add "$capability"); done
  [ "$(of_container "$name" .securityContext.readOnlyRootFilesystem)" = true ] && limits+=(--read-only --read-only-tmpfs=false)
  [ "$(of_container "$name" .securityContext.allowPrivilegeEscalation)" = false ] && limits+=(--security-opt no-new-privileges)
  "${engine[@]}" run --name "$name" --user "$user" --group-add 10001 --cap-drop ALL "${limits[@]}" \
    --network "ns:/run/netns/$pod" --dns 10.99.0.1 --dns-option ndots:1 --no-hosts "$@" "$image"
}

of_container() {
  jq -r --arg name "$1" '(.spec.initContainers + .spec.containers)[] | select(.name == $name) | '"$2" "$place/jail/pod.json"
}

run_pod() {
  local shared=$place/shared token volume port
  token=secret-$(openssl rand -hex 16)
  echo "$token" >"$place/token"
  for volume in shared workspace home tmp; do install -d -m 2777 -g 10001 "$place/$volume"; done
  cp checks/oci/job.sh checks/oci/escape.pl "$place/workspace"
  refuses_without_a_wall
  container wall "$proxy_image" --rm --entrypoint "$(of_container wall '.command | tojson')"
  exec {ready}< <(exec ip netns exec "$outside" python3 checks/oci/outside.py eth0 "$place/certificate" "$place/key" "$place/log")
  servers=$!
  read -r -u "$ready" _
  API_TOKEN=$token container proxy "$proxy_image" --detach --env API_TOKEN --volume "$shared:/run/nix-jail" >/dev/null
  timeout 60 bash -c 'until "$@"; do sleep 0.2; done' ready "${engine[@]}" exec proxy /nix-jail/jail __pod ready
  container job "$job_image" --env POD_ADDRESS=10.99.0.2 --volume "$shared:/run/nix-jail:ro" --volume "$place/workspace:/workspace" \
    --volume "$place/home:/home/agent" --volume "$place/tmp:/tmp" --workdir /workspace >"$place/job" 2>&1 ||
    { cat "$place/job"; return 1; }
  "${engine[@]}" logs proxy >"$place/proxy" 2>&1
  for port in 53 80 443 3128; do
    ! ip netns exec "$outside" timeout 1 bash -c "echo >/dev/tcp/10.99.0.2/$port" 2>/dev/null || echo "reached from outside: $port" >>"$place/job"
  done
  "${engine[@]}" stop --time 10 proxy >/dev/null
  "${engine[@]}" inspect proxy --format 'stopped: {{.State.ExitCode}}' >>"$place/job"
}

# Runs a job in a pod that is set up wrongly; it must refuse to start.
refuses_without_a_wall() {
  mkdir "$place/unwalled"
  echo '{ "dummies": {}, "git": [] }' >"$place/unwalled/job.json"
  if container job "$job_image" --rm --volume "$place/unwalled:/run/nix-jail:ro" >"$place/refusal" 2>&1; then
    echo "FAIL  a job started in a network that is not walled off" && return 1
  fi
  grep -q 'network namespace is not its own' "$place/refusal" || { cat "$place/refusal"; return 1; }
  echo "ok    a job refuses a network that is not walled off"
}

judge() {
  python3 checks/oci/judge.py "$place/job" "$place/proxy" "$place/log" "$place/token"
}

main
