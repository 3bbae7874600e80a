#!/usr/bin/env bash
# The scenarios on a real systemd: boots Debian in a virtual machine, with the jail in it, and prints what came out.
# As it is emulated (TCG), it needs no KVM; where KVM is known to work, JAIL_VM_ACCEL=kvm is faster.
#   bash checks/vm/debian.sh [SCENARIO…]     names of checks/vm/scenarios/*.sh without number and suffix; default: all
# Environment: JAIL_VM_SUITE (trixie; bookworm has the oldest systemd that is supported), JAIL (the program to test),
# JAIL_TESTS (its end-to-end suite as a program), JAIL_DEB (its Debian package), NIX_JAIL_CACHE (where the image is kept), JAIL_VM_SECONDS (time limit).
set -euo pipefail
jail=$(realpath -m "${JAIL:-${CARGO_TARGET_DIR:-$(dirname "$0")/../../rust/target}/release/jail}")
cd "$(dirname "$0")"

main() {
  local cache image
  if [ ! -x "$jail" ]; then
    echo "there is no $jail; build it first: cargo build --release --manifest-path rust/Cargo.toml"
    exit 1
  fi
  install_tools
  cache=${NIX_JAIL_CACHE:-/var/cache/nix-jail-checks}/vm
  suite=${JAIL_VM_SUITE:-trixie}
  # One image per recipe: another list of packages, another name.
  image=$cache/$(sha256sum image.sh | cut -c 1-16)/$suite
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  [ -e "$image/root.img" ] || make_image "$image" || exit $?
  lay_disk "$@"
  boot "$image" multi
  if ! has_come_to_its_end && [ "$ended" != 124 ] && emulator_is_to_blame; then
    echo "the emulator failed in the middle of the scenarios (exit code $ended; $(complaints | head -n 1)); once more, with one thread:"
    boot "$image" single
  fi
  judge
}

# Only root can install, and only root's file system keeps its owners when it is made into an image.
install_tools() {
  local missing=() pair
  for pair in mmdebstrap:mmdebstrap qemu-system-x86_64:qemu-system-x86 mkfs.ext4:e2fsprogs; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ "$(id -u)" = 0 ] || skip "the machine's image is made by root only"
  [ "$(uname -m)" = x86_64 ] || skip "the machine is an x86_64 one, this is $(uname -m)"
  [ "${#missing[@]}" = 0 ] && return
  command -v apt-get >/dev/null || skip "not installed, and this is not Debian: ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2 ||
    skip "could not be installed: ${missing[*]}"
}

skip() {
  echo "skipped: $*"
  exit 77
}

make_image() {
  echo "making the image of Debian $suite (once for this list of packages)"
  if ! bash image.sh "$work/image" "$suite" >"$work/image.log" 2>&1; then
    tail -n 30 "$work/image.log"
    # Nothing of ours is wrong if the packages cannot be had.
    if grep -qiE 'could not resolve|failed to fetch|connection (refused|timed out|failed)|temporary failure' "$work/image.log"; then
      echo "skipped: Debian's packages cannot be reached from here"
      return 77
    fi
    return 1
  fi
  # Older recipes' images are of no use to anybody.
  mkdir -p "${1%/*}"
  find "${1%/*}/.." -mindepth 1 -maxdepth 1 ! -name "$(basename "${1%/*}")" -exec rm -rf {} +
  mv "$work/image" "$1"
}

# What is tested comes on a disk of its own, so that the image stays as it is.
lay_disk() {
  local disk=$work/disk scenario name
  mkdir -p "$disk/scenarios"
  cp "$jail" "$disk/jail"
  # Without what is for debuggers only: the disk is made anew each time.
  if [ -n "${JAIL_TESTS:-}" ]; then strip -o "$disk/end_to_end" "$JAIL_TESTS"; fi
  if [ -n "${JAIL_DEB:-}" ]; then cp "$JAIL_DEB" "$disk/nix-jail.deb"; fi
  cp -r guest "$disk/guest"
  for scenario in scenarios/*.sh; do
    name=$(basename "$scenario" .sh)
    if [ "$#" = 0 ] || [[ " $* " == *" ${name#*-} "* ]]; then cp "$scenario" "$disk/scenarios/"; fi
  done
  truncate -s 128M "$disk.img"
  PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -d "$disk" "$disk.img"
}

# boot IMAGE THREAD: with a thread for each processor (multi), or one for all of them (single).
# The kernel's console goes to the first serial port, the results to the second. Nothing is written to the image.
boot() {
  local accel=tcg,thread=$2 limit=${JAIL_VM_SECONDS:-2400}
  ended=0
  [ "${JAIL_VM_ACCEL:-tcg}" = tcg ] || accel=$JAIL_VM_ACCEL
  timeout --kill-after=5 "$limit" qemu-system-x86_64 -accel "$accel" -cpu max -smp 2 -m 1536 -nodefaults -display none -no-reboot \
    -kernel "$1/vmlinuz" -initrd "$1/initrd.img" \
    -drive "file=$1/root.img,format=raw,if=virtio,snapshot=on" -drive "file=$work/disk.img,format=raw,if=virtio,snapshot=on" \
    -serial "file:$work/console" -serial "file:$work/results" \
    -append "console=ttyS0 root=/dev/vda rw quiet systemd.show_status=0 panic=-1" </dev/null || ended=$?
  case $ended in
    0) ;;
    124) echo "the machine did not switch itself off within $limit s" ;;
    *) echo "the machine ended with exit code $ended" ;;
  esac
  touch "$work/results" "$work/console"
  tr -d '\r' <"$work/results" >"$work/lines"
}

has_come_to_its_end() {
  grep -q '^END$' "$work/lines"
}

# A guest that says why it ended is to blame, with one exception: emulated processors that run in parallel can execute an
# instruction while another one patches it, which a kernel takes for a stray breakpoint (`Oops: int3`).
emulator_is_to_blame() {
  [ -z "$(complaints)" ] || complaints | head -n 1 | grep -q 'Oops: int3'
}

# What the guest's kernel and systemd say of an end that is none of the scenarios'.
complaints() {
  grep -aE 'panic|BUG:|Oops|emergency|Freezing execution' "$work/console" | tr -d '\r' | head -n 3
}

judge() {
  local passed failed skipped
  sed -n 's/^RESULT //p; s/^NOTE /         /p' "$work/lines"
  passed=$(grep -c '^RESULT [^ ]* ok' "$work/lines" || true)
  failed=$(grep -c '^RESULT [^ ]* FAIL' "$work/lines" || true)
  skipped=$(grep -c '^RESULT [^ ]* skipped' "$work/lines" || true)
  if ! has_come_to_its_end; then
    failed=$((failed + 1))
    echo "the scenarios did not come to their end; the last lines of the console and of the results:"
    tail -n 30 "$work/console" "$work/lines"
    echo "machine FAIL exit code $ended, $(grep -c '^RESULT' "$work/lines") results; $(complaints | tr '\n' ';')"
  fi
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

main "$@"
