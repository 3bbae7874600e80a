#!/usr/bin/env bash
# The Debian package: builds it from the static program, and checks its contents. The virtual machine of the check `vm`
# installs it, where AppArmor is the real one. Exit code 77: it cannot run here.
#   bash checks/deb.sh           builds and checks it
#   bash checks/deb.sh build     builds it, and prints its path only
#   JAIL_DEB=…/nix-jail.deb bash checks/deb.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}

main() {
  [ "$(uname -s)" = Linux ] || skip "Debian packages are built on Linux"
  command -v dpkg-deb >/dev/null || skip "there is no dpkg-deb (Debian: apt-get install dpkg)"
  package=${JAIL_DEB:-$(build)}
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  has_the_files
  has_fields
  has_working_files
}

skip() {
  echo "skipped: $*"
  exit 77
}

build() {
  local jail generated cargo_deb target
  jail=${STATIC_JAIL:-$(bash checks/static.sh build)}
  generated=$(dirname "$jail")/packaging
  rm -rf "$generated"
  mkdir -p "$generated/man"
  "$jail" man "$generated/man" >&2
  gzip --best --no-name "$generated"/man/*
  "$jail" completions bash >"$generated/jail.bash"
  "$jail" completions zsh >"$generated/_jail"
  "$jail" completions fish >"$generated/jail.fish"
  cargo_deb=$(packager)
  target=$(basename "$(dirname "$(dirname "$jail")")")
  # Built already, and stripped.
  "$cargo_deb" --manifest-path rust/jail/Cargo.toml --no-build --no-strip --quiet --locked \
    --profile static --target "$target" --output "$generated/nix-jail.deb" >&2
  echo "$generated/nix-jail.deb"
}

packager() {
  local root=$cache/cargo-deb
  if ! [ -x "$root/bin/cargo-deb" ]; then
    CARGO_TARGET_DIR=$root/target cargo install --quiet --locked --root "$root" --version '^3.8' cargo-deb >&2 ||
      skip "cargo-deb could not be installed" >&2
    rm -rf "$root/target"
  fi
  echo "$root/bin/cargo-deb"
}

has_the_files() {
  dpkg-deb --fsys-tarfile "$package" | tar -t | grep -v '/$' | sed 's|^\./||; s|man1/jail.*|man1/jail*|' | sort -u >"$work/files"
  diff - "$work/files" <<'FILES'
usr/bin/jail
usr/share/bash-completion/completions/jail
usr/share/doc/nix-jail/CHANGELOG.md
usr/share/doc/nix-jail/README.md
usr/share/doc/nix-jail/SECURITY.md
usr/share/doc/nix-jail/copyright
usr/share/fish/vendor_completions.d/jail.fish
usr/share/man/man1/jail*
usr/share/nix-jail/apparmor
usr/share/zsh/vendor-completions/_jail
FILES
  echo "the package holds the program, its manual pages, completions, documents and AppArmor profile"
}

has_fields() {
  local version architecture
  version=$(sed -n '/workspace.package/,/^$/ s/^version = "\(.*\)"/\1/p' rust/Cargo.toml)
  case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; *) architecture=$(dpkg --print-architecture) ;; esac
  [ "$(dpkg-deb --field "$package" Package)" = nix-jail ]
  [[ "$(dpkg-deb --field "$package" Version)" = "$version"-* ]]
  [ "$(dpkg-deb --field "$package" Architecture)" = "$architecture" ]
  # The static program depends on no library.
  [ "$(dpkg-deb --field "$package" Depends)" = ca-certificates ]
  dpkg-deb --info "$package" | grep postinst >/dev/null
  echo "$package: nix-jail $version for $architecture, $(stat -c %s "$package") bytes"
}

has_working_files() {
  dpkg-deb --extract "$package" "$work/root"
  "$work/root/usr/bin/jail" --version
  bash -n "$work/root/usr/share/bash-completion/completions/jail"
  zcat "$work/root/usr/share/man/man1/jail.1.gz" | grep "^.TH jail" >/dev/null
  ! find "$work/root" \( -perm /6000 -o -perm /022 ! -type l \) | grep .
}

case ${1:-} in
  build) build ;;
  "") main ;;
  *) echo "usage: bash checks/deb.sh [build]"; exit 2 ;;
esac
