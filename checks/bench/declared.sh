#!/usr/bin/env bash
# Declared jails by a real systemd at this processor's own speed: the start beside that of the same unit without a jail,
# and what many of them need: bash checks/bench/declared.sh [JAILS]
# Boots the image of checks/vm in namespaces of this host's kernel, with nothing of it written, and runs the scenario
# declared-many there. Root only; the image is there after `bash checks/vm/debian.sh`.
set -euo pipefail
cd "$(dirname "$0")/../.."
jails=${1:-50}
cache=${NIX_JAIL_CACHE:-/var/cache/nix-jail-checks}
jail=${JAIL:-${CARGO_TARGET_DIR:-$cache/target}/release/jail}
image=$cache/vm/$(sha256sum checks/vm/image.sh | cut -c 1-16)/${JAIL_VM_SUITE:-trixie}/root.img

main() {
  [ "$(id -u)" = 0 ] || fail "only root can boot a systemd"
  [ -e "$image" ] || fail "there is no $image; bash checks/vm/debian.sh makes it"
  [ -x "$jail" ] || fail "there is no $jail; build it first: cargo build --release --manifest-path rust/Cargo.toml"
  local groups
  groups=$(findmnt --types cgroup2 --noheadings --output TARGET | head -n 1)
  [ -n "$groups" ] || fail "no cgroup2 is mounted here"
  place=$(mktemp -d) group=$groups/nix-jail-bench-$$
  # With the groups that systemd made in it.
  trap 'rm -rf "$place"; find "$group" -depth -type d -exec rmdir {} + || true' EXIT
  mkdir "$group"
  # systemd is given this group as if it were the root of all.
  (
    echo "$BASHPID" >"$group/cgroup.procs"
    export -f boot
    export jails place image jail
    timeout --kill-after=5 600 unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child bash -euc boot
  ) >"$place/console" 2>&1 </dev/null || true
  if ! grep -qx END "$place/results/lines" 2>/dev/null; then
    tail -n 20 "$place/console" "$place"/results/*
    fail "it did not come to its end"
  fi
  sed -n 's/^RESULT //p' "$place/results/lines"
  ! grep -q '^RESULT [^ ]* FAIL' "$place/results/lines"
}

# The first process of the namespaces, which becomes systemd.
boot() {
  local root=$place/root node
  mkdir -p "$place"/{image,changes,root,results}
  mount -o loop,ro,noload "$image" "$place/image"
  mount -t tmpfs tmpfs "$place/changes"
  mkdir "$place"/changes/{upper,work}
  mount -t overlay overlay -o "lowerdir=$place/image,upperdir=$place/changes/upper,workdir=$place/changes/work" "$root"
  mkdir -p "$root"/{srv/checks/scenarios,results,host} "$root/etc/systemd/system/checks.service.d"
  cp -r checks/vm/guest "$jail" "$root/srv/checks/"
  cp checks/vm/scenarios/*-declared-many.sh "$root/srv/checks/scenarios/"
  # There are no disks, and nothing else is wanted.
  : >"$root/etc/fstab"
  cat >"$root/etc/systemd/system/checks.service.d/bench.conf" <<UNIT
[Service]
Environment=JAIL_VM_MANY=$jails JAIL_VM_STARTS=15
StandardOutput=append:/results/lines
UNIT
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  mount -t tmpfs tmpfs "$root/run"
  mount -t tmpfs tmpfs "$root/dev"
  for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
  done
  mkdir "$root"/dev/{pts,shm}
  mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  mount -t tmpfs tmpfs "$root/dev/shm"
  mount --bind "$place/results" "$root/results"
  cd "$root"
  pivot_root . host
  umount -l host
  # As systemd does on a machine: credentials reach a unit by it.
  mount --make-rshared /
  exec env -i container=nix-jail-bench PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=console
}

fail() {
  echo "FAILED: $*"
  exit 1
}

main
