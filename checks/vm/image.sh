#!/usr/bin/env bash
# Makes the image of a Debian that runs /srv/checks/guest/run.sh and switches itself off: image.sh DIRECTORY SUITE
# (root.img, vmlinuz, initrd.img). Its cache is named by this file's hash, so nothing else may decide what is in it.
set -euo pipefail

packages=(
  linux-image-cloud-amd64 systemd-sysv
  # A user's own systemd, as a login makes it.
  dbus dbus-user-session libpam-systemd
  apparmor
  # Programs of the scenarios.
  ca-certificates curl openssl procps python3
)

main() {
  local image=$1 tree
  tree=$(mktemp -d)
  # shellcheck disable=SC2064 # the directory is known now
  trap "rm -rf '$tree'" EXIT
  mkdir -p "$image"
  # No mirror is named: the default one is used. Files of documentation only cost time.
  mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --format=tar "$2" - | tar -x -C "$tree" --numeric-owner
  configure "$tree"
  mv "$tree"/boot/vmlinuz-* "$image/vmlinuz"
  mv "$tree"/boot/initrd.img-* "$image/initrd.img"
  truncate -s 1G "$image/root.img"
  PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -d "$tree" "$image/root.img"
}

configure() {
  local tree=$1 unit
  # `agent` has a systemd of its own without logging in, `loner` has none.
  chroot "$tree" useradd --create-home --uid 1000 --shell /bin/bash agent
  chroot "$tree" useradd --create-home --uid 1001 --shell /bin/bash loner
  mkdir -p "$tree/var/lib/systemd/linger" "$tree/srv/checks"
  touch "$tree/var/lib/systemd/linger/agent"
  echo '/dev/vdb /srv/checks ext4 ro 0 0' >"$tree/etc/fstab"
  cat >"$tree/etc/systemd/system/checks.service" <<'UNIT'
[Unit]
Description=The scenarios
RequiresMountsFor=/srv/checks
After=user@1000.service systemd-logind.service dbus.service
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/bash /srv/checks/guest/run.sh
StandardOutput=file:/dev/ttyS1
StandardError=inherit
UNIT
  mkdir -p "$tree/etc/systemd/system/multi-user.target.wants"
  ln -s ../checks.service "$tree/etc/systemd/system/multi-user.target.wants/checks.service"
  # Nothing of a first boot, nor of an update, is left to do.
  chroot "$tree" systemd-machine-id-setup
  touch "$tree/etc/.updated" "$tree/var/.updated"
  # What nobody waits for here; apparmor.service would load a hundred profiles of other programs.
  for unit in apparmor.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount modprobe@configfs.service \
    modprobe@drm.service modprobe@efi_pstore.service systemd-modules-load.service systemd-udev-load-credentials.service \
    getty@tty1.service serial-getty@ttyS0.service systemd-networkd.service systemd-tmpfiles-clean.timer; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
  done
}

main "$@"
