#!/usr/bin/env bash
# Checks the Nix code without network and without nixpkgs: bash checks/nix-language.sh [syntax|evaluation|flake|reference…]
#   syntax      every file parses, is formatted and has no dead code; flake.nix and flake.lock agree
#   evaluation  checks/eval, with nixpkgs' lib: NIX_PATH=nixpkgs=…:nixos=…:nix-darwin=… (the last two may be missing)
#   reference   writes the reference of the options, nix/docs/reference-options.md
#   flake       builds and runs jails, and uses flake.nix, with a small replacement for nixpkgs
# Exit code 77: a part cannot run here (the last line says which), and all other parts have passed.
set -eu
cd "$(dirname "$0")/.."
cache=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}
jail=${CARGO_TARGET_DIR:-$cache/target}/release/jail
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
skipped=()

main() {
  have_nix || { echo "skipped: Nix is not installed, and this is not root on Debian"; exit 77; }
  isolate
  copy_of_the_flake
  for part in "$@"; do "$part"; done
  [ "${#skipped[@]}" = 0 ] || { printf 'skipped: %s\n' "$(printf '%s; ' "${skipped[@]}" | sed 's/; $//')"; exit 77; }
}

have_nix() {
  # Prefer the newer Nix that checks/nix.sh has unpacked: templates need it.
  [ ! -x "$cache/nix-trixie/bin/nix-build" ] || PATH=$cache/nix-trixie/bin:$PATH
  command -v nix-instantiate >/dev/null || install nix-bin
  command -v nix-instantiate >/dev/null
}

install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >"$scratch/apt.log" 2>&1 || true
}

# Uses a store and settings of its own: fetches nothing, leaves nothing behind, and does not depend on the host's Nix.
isolate() {
  mkdir -p "$scratch"/{conf,home}
  cat >"$scratch/conf/nix.conf" <<'CONF'
experimental-features = nix-command flakes
substituters =
build-users-group =
sandbox = false
builders =
flake-registry =
CONF
  export NIX_CONF_DIR=$scratch/conf NIX_USER_CONF_FILES=/dev/null NIX_REMOTE=''
  export NIX_STORE_DIR=$scratch/store NIX_STATE_DIR=$scratch/var NIX_LOG_DIR=$scratch/log
  export XDG_CACHE_HOME=$scratch/home/cache XDG_STATE_HOME=$scratch/home/state
}

# Copies the files of the project without build results, which `path:` would include.
copy_of_the_flake() {
  mkdir "$scratch/flake"
  files '*' | tar -c --null -T - | tar -x -C "$scratch/flake"
}

# Lists the project's existing files, new ones included, separated by NUL.
files() {
  git ls-files -z --cached --others --exclude-standard -- "$@" | while IFS= read -r -d '' file; do
    [ ! -f "$file" ] || printf '%s\0' "$file"
  done
}

fail() {
  echo "FAILED: $*"
  exit 1
}

syntax() {
  local tools=$cache/nix-tools
  echo "--- parse"
  files '*.nix' | while IFS= read -r -d '' file; do
    nix-instantiate --parse "$file" >/dev/null || exit 1
  done || fail "a file does not parse"

  echo "--- flake.lock"
  nix flake metadata --offline --no-update-lock-file "path:$scratch/flake" >/dev/null ||
    fail "flake.nix and flake.lock disagree: run nix flake lock where there is a network"

  if [ ! -x "$tools/bin/nixfmt" ] || [ ! -x "$tools/bin/deadnix" ]; then
    CARGO_TARGET_DIR=$scratch/tools cargo install --quiet --locked --root "$tools" nixfmt_rs deadnix ||
      { skipped+=("nixfmt and deadnix could not be installed from the crate registry"); return 0; }
  fi
  echo "--- nixfmt"
  files '*.nix' | xargs -0 "$tools/bin/nixfmt" --check || fail "run nixfmt on these files"
  echo "--- deadnix"
  # The toy takes what nixpkgs takes, and uses little of it.
  files '*.nix' ':!checks/toy-nixpkgs' | xargs -0 "$tools/bin/deadnix" --fail || fail "remove what is not used"
}

# Writes nix/docs/reference-options.md.
reference() {
  has_lib || { skipped+=("reference: no <nixpkgs/lib> in NIX_PATH"); return 0; }
  evaluate optionReference --raw >"$scratch/options.md"
  cp "$scratch/options.md" nix/docs/reference-options.md
}

evaluation() {
  local missing file
  has_lib || { skipped+=("evaluation: no <nixpkgs/lib> in NIX_PATH"); return 0; }

  # Before the tests: one of them compares it too, but shows no difference.
  echo "--- nix/docs/reference-options.md"
  evaluate optionReference --raw >"$scratch/options.md"
  diff nix/docs/reference-options.md "$scratch/options.md" ||
    fail "nix/docs/reference-options.md is out of date: run bash checks/nix-language.sh reference"

  evaluate failures >"$scratch/failures.json"
  [ "$(tr -d '\n' <"$scratch/failures.json" | sed 's/"[a-z]*\.nix":\[\]//g; s/[{},]//g')" = "" ] ||
    fail "checks/eval: $(cat "$scratch/failures.json")"
  echo "no failures in $(evaluate tests | grep -o '"test[A-Z]' | wc -l) tests of checks/eval"
  missing=$(evaluate skipped --raw)
  [ -z "$missing" ] || skipped+=("$missing")

  flake_check

  echo "--- specifications"
  has_program || return 0
  mkdir "$scratch/specs"
  for name in $(evaluate specNames | tr -d '[]"' | tr , ' '); do
    file=$scratch/specs/$name.json
    evaluate "specs.$name" >"$file"
    "$jail" check "$file" || fail "the specification of the example $name"
  done
  for file in checks/eval/golden/*.json; do
    "$jail" check "$file" || fail "$file"
  done
}

# `nix flake check`, without building, with the packages of checks/eval/support/nixpkgs: names in the place of programs.
flake_check() {
  local names=$scratch/names
  if ! has_path nixos || ! has_path nix-darwin; then return 0; fi # said already
  [ "$(printf '%s\n' 2.26 "$(nix --version | grep -o '[0-9.]*$')" | sort -V | head -n 1)" = 2.26 ] ||
    { skipped+=("nix flake check: Nix is older than 2.26 and cannot read templates"); return 0; }
  echo "--- nix flake check"
  mkdir -p "$names"
  cp checks/eval/support/nixpkgs/default.nix "$names/names.nix"
  cp -r "$(path_of nixpkgs/lib)" "$names/lib"
  cp -r "$(path_of nixos)" "$names/nixos"
  cp -r "$(path_of nix-darwin)" "$scratch/nix-darwin"
  chmod -R u+w "$names" "$scratch/nix-darwin"
  cat >"$names/default.nix" <<'NIX'
{ system ? builtins.currentSystem, config ? { } }:
import ./names.nix {
  lib = import ./lib;
  nixos = ./nixos;
  inherit system config;
}
NIX
  cat >"$names/flake.nix" <<'NIX'
{
  outputs = { self }: rec {
    lib = import ./lib // {
      nixosSystem = { modules, specialArgs }: lib.evalModules {
        class = "nixos";
        specialArgs = specialArgs // { modulesPath = "${./nixos}/modules"; };
        modules = modules ++ import ./nixos/modules/module-list.nix ++ [
          {
            environment.stub-ld.enable = false;
            documentation.enable = false;
            _module.args = {
              pkgs = lib.mkForce (import self { system = "x86_64-linux"; config.allowUnfreePredicate = _: true; });
              baseModules = [ ];
              extraModules = [ ];
              modules = [ ];
            };
          }
        ];
      };
    };
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (system: import self { inherit system; });
  };
}
NIX
  nix flake check --no-build --offline --no-write-lock-file --option allow-import-from-derivation false \
    --override-input nixpkgs "path:$names" --override-input nix-darwin "path:$scratch/nix-darwin" \
    "path:$scratch/flake" || fail "nix flake check"
}

# An attribute of checks/eval. Import from derivation is an error here: no evaluation may build.
evaluate() {
  local attribute=$1
  shift
  if [ "${1:-}" = --raw ]; then set -- --raw; else set -- --json; fi
  nix eval --impure --offline --option allow-import-from-derivation false "$@" --file checks/eval "$attribute"
}

has_lib() {
  has_path nixpkgs/lib
}

has_path() {
  nix-instantiate --eval -E "<$1>" >/dev/null 2>&1
}

path_of() {
  nix-instantiate --eval -E "toString <$1>" | tr -d '"'
}

has_program() {
  [ -x "$jail" ] || { skipped+=("no $jail: build it first"); return 1; }
}

has_static_programs() {
  [ -x /usr/bin/busybox ] && [ -x /usr/bin/bash-static ]
}

flake() {
  has_lib || { skipped+=("built jails: no <nixpkgs/lib> in NIX_PATH"); return 0; }
  has_program || return 0
  has_static_programs || install busybox-static bash-static
  has_static_programs ||
    { skipped+=("built jails: busybox-static and bash-static are not installed"); return 0; }
  mkdir -p "$scratch/package/bin" "$scratch/workspace"
  cp "$jail" "$scratch/package/bin/jail"

  echo "--- a jail sees its closure and nothing else"
  local sees greets
  sees=$(build sees)
  (cd "$scratch/workspace" && "$sees/bin/sees" "ls -d $NIX_STORE_DIR/*") >"$scratch/seen"
  sed -n 's/.*"storePaths":"\([^"]*\)".*/\1/p' "$sees/share/nix-jail/sees.json" | xargs cat | sort | diff - "$scratch/seen" ||
    fail "the jail sees other store paths than its closure's"
  [ "$(wc -l <"$scratch/seen")" -ge 2 ] || fail "the jail sees too little: $(cat "$scratch/seen")"
  for name in greets named; do
    greets=$(build "$name")/bin/$name
    (cd "$scratch/workspace" && "$greets") | grep -qx 'hello from the store' || fail "$name"
  done

  echo "--- units of a service are those of jail units"
  local units served
  units=$(build units)
  served=$(build served)
  "$scratch/package/bin/jail" units --output "$scratch/units" "$served/share/nix-jail/served.json"
  grep -rq '^ListenStream=5432$' "$scratch/units" || fail "there are no units"
  # But for the path of the program.
  sed -i "s|$scratch/package/|$(nix-store --add "$scratch/package")/|" "$scratch"/units/nix-jail*@.*
  diff -r "$units/lib/systemd/system" "$scratch/units" || fail "the units of the module are others"

  echo "--- what must not build does not, and says why"
  build within-limits >/dev/null
  does_not_build bad-rule 'rules\[0\]'
  does_not_build undeclared 'TOKEN, which is not declared'
  does_not_build too-large 'more than closure.maxSize'
  does_not_build forbidden 'which closure.forbid names'

  flake_with_a_nixpkgs_in_small
}

build() {
  nix-build --no-out-link --option allow-import-from-derivation false \
    --arg package "$scratch/package" -A "$1" checks/eval/build 2>"$scratch/build.log" ||
    { cat "$scratch/build.log" >&2; return 1; }
}

does_not_build() {
  ! build "$1" >/dev/null 2>&1 || fail "$1 builds"
  grep -q -- "$2" "$scratch/build.log" || fail "$1 does not build for another reason: $(cat "$scratch/build.log")"
}

# Uses flake.nix unchanged, with its nixpkgs replaced.
flake_with_a_nixpkgs_in_small() {
  local small=$scratch/nixpkgs offline in_small
  mkdir -p "$small/toy/static" "$small/package"
  cp -r checks/toy-nixpkgs/. "$small/toy"
  cp /usr/bin/busybox /usr/bin/bash-static "$small/toy/static"
  cp -r "$scratch/package/." "$small/package"
  cp checks/eval/build/builders.nix "$small"
  cp -r "$(path_of nixpkgs/lib)" "$small/lib"
  cat >"$small/default.nix" <<'NIX'
{ system ? builtins.currentSystem, config ? { } }:
import ./builders.nix {
  lib = import ./lib;
  toy = import ./toy { inherit system; };
  package = ./package;
}
NIX
  cat >"$small/flake.nix" <<'NIX'
{
  outputs = { self }: rec {
    lib = import ./lib;
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ] (system: import self { inherit system; });
  };
}
NIX
  offline=(--offline --no-write-lock-file --option allow-import-from-derivation false)
  in_small=("${offline[@]}" --override-input nixpkgs "path:$small" --override-input nix-darwin "path:$small")

  echo "--- nix run .#jail"
  (cd "$scratch/workspace" && nix run "${in_small[@]}" "path:$scratch/flake#jail" -- --version) || fail "nix run .#jail"
  ! ls -d "$NIX_STORE_DIR"/*-claude-code 2>/dev/null || fail "agents are built though nobody asked for one"

  echo "--- nix run .#jail -- -p hello, run --flake ., demo"
  cp -r "$small/toy" "$scratch/workspace/project"
  [ "$(cd "$scratch/workspace" && nix run "${in_small[@]}" "path:$scratch/flake#jail" -- -p hello -- hello)" = "hello from the store" ] ||
    fail "nix run .#jail -- -p hello"
  [ "$(cd "$scratch/workspace/project" && nix run "${in_small[@]}" "path:$scratch/flake#jail" -- run --flake . -- hello)" = "hello from the store" ] ||
    fail "nix run .#jail -- run --flake ."
  (cd "$scratch/workspace" && nix run "${in_small[@]}" "path:$scratch/flake#jail" -- demo) || fail "nix run .#jail -- demo"

  echo "--- nix run .#jail -- claude"
  ANTHROPIC_API_KEY=sk-ant-api03-$(head -c 48 /dev/urandom | base64 | tr -d '+/=\n')
  export ANTHROPIC_API_KEY
  claude_answers "${in_small[@]}" "path:$scratch/flake#jail" -- claude
  claude_answers "${in_small[@]}" "path:$scratch/flake#claude" --

  echo "--- nix flake init -t .#claude, nix run"
  mkdir "$scratch/project"
  (cd "$scratch/project" && nix flake init --offline -t "path:$scratch/flake#claude") || fail "nix flake init"
  claude_answers "${offline[@]}" --override-input nix-jail "path:$scratch/flake" \
    --override-input nix-jail/nixpkgs "path:$small" --override-input nix-jail/nix-darwin "path:$small" \
    "path:$scratch/project" --
}

claude_answers() {
  (cd "$scratch/workspace" && HOME=$scratch/home nix run "$@" one two) | grep -qx 'this is claude-code one two' ||
    fail "nix run ${*: -2}"
}

if [ $# = 0 ]; then set -- syntax evaluation flake; fi
main "$@"
