#!/usr/bin/env bash
# Evaluates and builds the flake with a whole nixpkgs: bash checks/nixpkgs.sh [PART…]
#   evaluate   every output for every system: nix flake show, nix flake check --no-build, all derivations
#   templates  each template, as `nix flake init` copies it from a checkout
#   systems    whole NixOS, nix-darwin and home-manager configurations with jails
#   cross      a jail for another platform: its builder runs the build platform's program
#   cost       the CPU time that mkJail adds to an evaluation; at most 10 ms for each jail
#   build      the package with its check phase, the manual, jails, and all checks that need no KVM
# Without PART it runs all of them.
#
# NIX_JAIL_NIXPKGS       the nixpkgs tree, a directory (default: <nixpkgs>)
# NIX_JAIL_NIX_DARWIN    nix-darwin of the same release (default: <nix-darwin>)
# NIX_JAIL_HOME_MANAGER  home-manager of the same release (default: <home-manager>)
# NIX_JAIL_NIX           directories with other versions of Nix, separated by colons; the Nix of PATH and the one that
#                        checks/nix.sh has unpacked are used as well
#
# It evaluates into this machine's Nix store, with this machine's settings. An evaluation of all outputs takes about a
# minute and 5 GB of memory. Exit code 77: a part cannot run here, and the last line says which and why.
set -eu
cd "$(dirname "$0")/.."
cache=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
skipped=()
systems=(x86_64-linux aarch64-linux aarch64-darwin)
# nixpkgs itself demands it.
oldest_nix=2.18
# Seconds for one command, many times what it takes on an idle machine.
evaluation_limit=1200
build_limit=3600

main() {
  local directory programs=() version
  declare -A seen=()
  nixpkgs=$(input "${NIX_JAIL_NIXPKGS:-}" nixpkgs)
  nix_darwin=$(input "${NIX_JAIL_NIX_DARWIN:-}" nix-darwin)
  home_manager=$(input "${NIX_JAIL_HOME_MANAGER:-}" home-manager)
  if [ ! -e "$nixpkgs/flake.nix" ] || [ ! -e "$nixpkgs/nixos/lib/eval-config.nix" ]; then
    give_up "neither NIX_JAIL_NIXPKGS nor <nixpkgs> is a whole nixpkgs"
  fi
  [ -e "$nix_darwin/flake.nix" ] ||
    give_up "neither NIX_JAIL_NIX_DARWIN nor <nix-darwin> is nix-darwin, an input of the flake"
  copy_flake
  export NIX_CONFIG="experimental-features = nix-command flakes
allow-import-from-derivation = false
eval-cache = false
${NIX_CONFIG:-}"

  mapfile -t programs < <(directories_with_nix)
  for directory in ${programs+"${programs[@]}"}; do
    version=$("$directory/nix" --version | grep -o '[0-9.]*$')
    [ -z "${seen[$version]:-}" ] || continue
    seen[$version]=yes
    if ! is_at_least "$oldest_nix" "$version"; then
      echo "Nix $version is older than $oldest_nix and cannot evaluate nixpkgs"
      continue
    fi
    printf '\n--- Nix %s\n' "$version"
    check_with "$directory" "$@"
  done
  [ -n "${checked:-}" ] || give_up "there is no Nix $oldest_nix or newer in NIX_JAIL_NIX or PATH"
  compare_derivations
  [ "${#skipped[@]}" = 0 ] || give_up "$(printf '%s\n' "${skipped[@]}" | sort -u | paste -s -d ';'); the other parts passed"
}

give_up() {
  echo "skipped: $*"
  exit 77
}

fail() {
  echo "FAILED: $*"
  exit 1
}

# input VALUE NAME: prints VALUE, or the directory that <NAME> is in NIX_PATH.
input() {
  local path=$1
  [ -n "$path" ] || path=$(nix-instantiate --eval --expr "toString <$2>" 2>/dev/null | tr -d '"') || path=
  [ -z "$path" ] || realpath -m "$path"
}

# Copies the tracked and the new files: `path:` would copy and hash build results, too.
copy_flake() {
  mkdir "$scratch/flake"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [ ! -f "$file" ] || printf '%s\0' "$file"
  done | tar -c --null -T - | tar -x -C "$scratch/flake"
}

directories_with_nix() {
  local directory
  tr ':' '\n' <<<"${NIX_JAIL_NIX:-}:$cache/nix-trixie/bin:$PATH" | while read -r directory; do
    [ ! -x "$directory/nix" ] || echo "$directory"
  done
}

# is_at_least OLDEST VERSION
is_at_least() {
  [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# check_with DIRECTORY PART…: runs the parts with the Nix of that directory.
check_with() {
  local directory=$1 part
  shift
  checked=yes
  export PATH=$directory:$PATH
  inputs=(--no-write-lock-file --override-input nixpkgs "path:$nixpkgs" --override-input nix-darwin "path:$nix_darwin")
  # The same inputs, for a flake that has ours as its input `nix-jail`.
  inputs_of_ours=(--no-write-lock-file --override-input nix-jail "path:$scratch/flake"
    --override-input nix-jail/nixpkgs "path:$nixpkgs" --override-input nix-jail/nix-darwin "path:$nix_darwin")
  for part in "$@"; do "check_$part"; done
}

# evaluate COMMAND…: runs Nix within the time limit; on failure prints the end of its messages.
evaluate() {
  timeout --kill-after=10 "$evaluation_limit" "$@" 2>"$scratch/log" && return
  { tail -n 25 "$scratch/log"; echo "failed: $*"; } >&2
  return 1
}

# record NAME DERIVATION: notes a derivation for the comparison of all versions of Nix.
record() {
  [[ $2 == *.drv ]] || fail "$1 is not a derivation: $2"
  echo "$1 $2" >>"$scratch/derivations"
}

compare_derivations() {
  local differing
  [ -e "$scratch/derivations" ] || return 0
  differing=$(sort -u "$scratch/derivations" | cut -d ' ' -f 1 | uniq --repeated | paste -s -d ' ')
  [ -z "$differing" ] || fail "these derivations differ between the versions of Nix: $differing"
  printf '\n%s derivations, equal with each Nix\n' "$(sort -u "$scratch/derivations" | wc -l)"
}

check_evaluate() {
  local output name derivation
  echo "--- nix flake show"
  evaluate nix flake show --all-systems --json "${inputs[@]}" "path:$scratch/flake" >"$scratch/show.json" || fail "nix flake show"
  echo "--- nix flake check --no-build"
  evaluate nix flake check --no-build --all-systems "${inputs[@]}" "path:$scratch/flake" || fail "nix flake check --no-build"
  echo "--- the derivations of all outputs"
  for output in packages checks devShells; do
    # shellcheck disable=SC2016 # Nix expands these
    evaluate nix eval --raw "${inputs[@]}" "path:$scratch/flake#$output" --apply 'systems:
      with builtins; concatStringsSep "" (concatMap (system: map (name:
        "${system}.${name} ${unsafeDiscardStringContext systems.${system}.${name}.drvPath}\n"
      ) (attrNames systems.${system})) (attrNames systems))' >"$scratch/outputs" || fail "$output"
    while read -r name derivation; do record "$output.$name" "$derivation"; done <"$scratch/outputs"
  done
}

check_templates() {
  local name system
  echo "--- templates"
  for name in claude devshell nixos; do
    rm -rf "${scratch:?}/$name"
    mkdir "$scratch/$name"
    (cd "$scratch/$name" && evaluate nix flake init -t "path:$scratch/flake#$name") || fail "nix flake init -t CHECKOUT#$name"
  done
  for system in "${systems[@]}"; do
    record_of_ours "templates.claude.$system" "path:$scratch/claude#packages.$system.default"
    record_of_ours "templates.devshell.$system" "path:$scratch/devshell#packages.$system.default"
    record_of_ours "templates.devshell.$system.shell" "path:$scratch/devshell#devShells.$system.default"
  done
  record_of_ours templates.nixos "path:$scratch/nixos#nixosConfigurations.host.config.system.build.toplevel"
}

# record_of_ours NAME INSTALLABLE: records an output of a flake that has ours as its input.
record_of_ours() {
  local derivation
  derivation=$(evaluate nix eval --raw "${inputs_of_ours[@]}" "$2.drvPath") || fail "$1"
  record "$1" "$derivation"
}

check_systems() {
  local system home_input=''
  echo "--- NixOS, nix-darwin and home-manager"
  [ ! -e "$home_manager/flake.nix" ] ||
    home_input='home-manager.url = "path:/nonexistent"; home-manager.inputs.nixpkgs.follows = "nixpkgs";'
  mkdir -p "$scratch/systems"
  cat >"$scratch/systems/flake.nix" <<NIX
{
  inputs = {
    nix-jail.url = "path:/nonexistent";
    nixpkgs.follows = "nix-jail/nixpkgs";
    nix-darwin.follows = "nix-jail/nix-darwin";
    $home_input
  };
  outputs = { nix-jail, nixpkgs, nix-darwin, ... }@inputs: let
    unfree.allowUnfreePredicate = package: nixpkgs.lib.getName package == "claude-code";
    jails = {
      claude = nix-jail.lib.jails.claude;
      plain.rules = [ "GET https://example.com" ];
    };
    served = jails // {
      web = {
        command = [ "true" ];
        service = { enable = true; workspace = "/srv/web"; };
      };
    };
  in {
    nixos = (nixpkgs.lib.nixosSystem {
      modules = [ nix-jail.nixosModules.default {
        services.nix-jail.jails = served;
        fileSystems."/" = { device = "/dev/vda"; fsType = "ext4"; };
        boot.loader.grub.enable = false;
        nixpkgs = { hostPlatform = "x86_64-linux"; config = unfree; };
        system.stateVersion = nixpkgs.lib.trivial.release;
      } ];
    }).config.system.build.toplevel;
    darwin = (nix-darwin.lib.darwinSystem {
      modules = [ nix-jail.darwinModules.default {
        services.nix-jail.jails = served;
        nixpkgs = { hostPlatform = "aarch64-darwin"; config = unfree; };
        system.stateVersion = 6;
        system.primaryUser = "me";
      } ];
    }).system;
    home = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-darwin" ] (system: (inputs.home-manager.lib.homeManagerConfiguration {
      pkgs = import nixpkgs { inherit system; config = unfree; };
      modules = [ nix-jail.homeModules.default {
        services.nix-jail.jails = jails;
        home = { username = "me"; homeDirectory = "/home/me"; stateVersion = nixpkgs.lib.trivial.release; };
      } ];
    }).activationPackage);
  };
}
NIX
  [ -z "$home_input" ] || inputs_of_ours+=(--override-input home-manager "path:$home_manager")
  record_of_ours systems.nixos "path:$scratch/systems#nixos"
  record_of_ours systems.darwin "path:$scratch/systems#darwin"
  if [ -n "$home_input" ]; then
    for system in x86_64-linux aarch64-darwin; do record_of_ours "systems.home.$system" "path:$scratch/systems#home.$system"; done
  else
    skipped+=("home-manager configurations: neither NIX_JAIL_HOME_MANAGER nor <home-manager> is home-manager")
  fi
}

# A jail for aarch64 that is built on x86_64: the build platform's program checks it, the host platform's runs it.
check_cross() {
  local derivation
  echo "--- a jail of pkgsCross"
  # shellcheck disable=SC2016 # Nix expands these
  derivation=$(evaluate_expression '
    let
      package = pkgs: pkgs.callPackage (flake + "/nix/package.nix") { };
      foreign = (pkgsFor "x86_64-linux").pkgsCross.aarch64-multiplatform;
      jail = mkJail {
        pkgs = foreign;
        modules = [ { name = "hello"; packages = [ foreign.hello ]; command = [ "hello" ]; } ];
      };
      script = text jail.buildCommand;
      says = words: lib.hasInfix (text words) script;
    in
    assert says "${package foreign.buildPackages}/bin/jail check ";
    assert !says "${package foreign}/bin/jail check ";
    assert says "exec ${package foreign}/bin/jail run hello ";
    text jail.drvPath') || fail "a jail of pkgsCross"
  record cross.hello "$derivation"
}

# evaluate_expression EXPRESSION: prints the text that it evaluates to.
evaluate_expression() {
  evaluate nix eval --impure --raw --expr "
    let
      nixpkgs = $nixpkgs;
      flake = $scratch/flake;
      lib = import (nixpkgs + \"/lib\");
      inherit (import (flake + \"/nix/lib.nix\") { inherit lib; }) mkJail;
      pkgsFor = system: import nixpkgs { inherit system; config = { }; overlays = [ ]; };
      text = builtins.unsafeDiscardStringContext;
    in $1"
}

# The CPU time of an evaluation is that of the fastest of several: other work of the machine only adds to it.
check_cost() {
  local jails=50 without first all each
  without=$(milliseconds_for 0) || fail "an evaluation without jails"
  first=$(milliseconds_for 1) || fail "an evaluation with a jail"
  all=$(milliseconds_for $jails) || fail "an evaluation with $jails jails"
  each=$(((all - without) / jails))
  echo "--- mkJail: $((first - without)) ms for one jail, $((all - without)) ms for $jails, on top of $without ms for nixpkgs"
  [ "$each" -le 10 ] || fail "a jail adds $each ms to an evaluation, more than 10"
}

# milliseconds_for COUNT: the CPU time of an evaluation with so many jails.
milliseconds_for() {
  local round milliseconds fastest=
  for round in 1 2 3 4 5; do
    NIX_SHOW_STATS=1 NIX_SHOW_STATS_PATH=$scratch/statistics evaluate_expression "
      let
        pkgs = pkgsFor \"x86_64-linux\";
        jail = number: mkJail {
          inherit pkgs;
          package = pkgs.hello;
          modules = [ {
            name = \"hello-\${toString number}\";
            packages = [ pkgs.hello pkgs.bashInteractive ];
            command = [ \"hello\" ];
            rules = [ \"GET https://example.com\" ];
          } ];
        };
      in text (toString (map (package: package.drvPath) ([ pkgs.hello pkgs.bashInteractive ] ++ builtins.genList jail $1)))" >/dev/null || return 1
    milliseconds=$(sed -n 's/^ *"cpuTime": \([0-9.e-]*\).*/\1/p' "$scratch/statistics" | awk 'NR == 1 { printf "%d", $1 * 1000 }')
    [ -n "$milliseconds" ] || { echo "Nix printed no cpuTime in round $round" >&2; return 1; }
    if [ -z "$fastest" ] || [ "$milliseconds" -lt "$fastest" ]; then fastest=$milliseconds; fi
  done
  echo "$fastest"
}

check_build() {
  local system jail
  system=$(nix eval --impure --raw --expr builtins.currentSystem)
  echo "--- builds for $system"
  if ! timeout --kill-after=10 "$evaluation_limit" nix build --no-link "path:$nixpkgs#stdenv" 2>"$scratch/log"; then
    skipped+=("builds: the stdenv of nixpkgs can be neither substituted nor built here: $(grep -m 1 'error:' "$scratch/log")")
    return
  fi
  build "#nix-jail"
  build "#docs"
  write_flake_with_jail "$system"
  mkdir -p "$scratch/workspace"

  echo "--- nix run .#jail"
  [ "$(run_app -p hello -- hello)" = "Hello, world!" ] || fail "nix run .#jail -- -p hello -- hello"
  run_app log >"$scratch/job-log" || fail "nix run .#jail -- log"
  grep -q hello "$scratch/job-log" || { cat "$scratch/job-log"; fail "nix run .#jail -- log does not show the job"; }
  [ "$(run_app --flake "path:$scratch/sees" -- hello)" = "Hello, world!" ] || fail "nix run .#jail -- --flake FLAKE -- hello"

  echo "--- nix develop"
  quietly nix develop "${inputs[@]}" "path:$scratch/flake" --command cargo --version || fail "nix develop"

  echo "--- a jail sees its closure and nothing else"
  jail=$(quietly nix build --no-link --print-out-paths --no-write-lock-file "path:$scratch/sees#jail") || fail "a jail of packages"
  (cd "$scratch/workspace" && in_own_state quietly "$jail/bin/sees") >"$scratch/seen" || fail "the jail does not run"
  [ -s "$scratch/seen" ] || fail "the jail sees nothing"
  sed -n 's/.*"storePaths":"\([^"]*\)".*/\1/p' "$jail/share/nix-jail/sees.json" | xargs cat | sort | diff - "$scratch/seen" ||
    fail "the jail sees other store paths than its closure"
  run_app -p bashInteractive -p coreutils -p hello -- bash -c "ls -d /nix/store/*" | diff "$scratch/seen" - ||
    fail "the jail of -p sees other store paths than that of mkJail with the same packages"
  wc -l <"$scratch/seen" | sed 's/$/ store paths/'

  echo "--- all checks that need no KVM"
  build "#checks.$system.without-kvm"
}

# write_flake_with_jail SYSTEM: a flake of a user, with a jail and a dev shell.
write_flake_with_jail() {
  mkdir -p "$scratch/sees"
  cat >"$scratch/sees/flake.nix" <<NIX
{
  inputs.nix-jail = {
    url = "path:$scratch/flake";
    inputs.nixpkgs.follows = "nixpkgs";
    inputs.nix-darwin.follows = "";
  };
  inputs.nixpkgs.url = "path:$nixpkgs";
  outputs = { nix-jail, nixpkgs, ... }: let pkgs = nixpkgs.legacyPackages.$1; in {
    jail = nix-jail.lib.mkJail {
      inherit pkgs;
      package = nix-jail.packages.$1.nix-jail;
      modules = [ { name = "sees"; packages = [ pkgs.bashInteractive pkgs.coreutils pkgs.hello ]; command = [ "bash" "-c" "ls -d /nix/store/*" ]; } ];
    };
    devShells.$1.default = pkgs.mkShell { packages = [ pkgs.hello ]; };
  };
}
NIX
}

# run_app ARGUMENT…: runs the flake's app in the workspace.
run_app() {
  (cd "$scratch/workspace" && in_own_state quietly nix run "${inputs[@]}" "path:$scratch/flake#jail" -- "$@")
}

# in_own_state COMMAND…: keeps the jails and logs of the user as they are.
in_own_state() {
  XDG_STATE_HOME=$scratch/state XDG_CONFIG_HOME=$scratch/config "$@"
}

limited() {
  timeout --kill-after=10 "$build_limit" "$@"
}

# quietly COMMAND…: runs it within the time limit; on failure prints the end of its messages.
quietly() {
  limited "$@" 2>"$scratch/log" && return
  { tail -n 25 "$scratch/log"; echo "failed: $*"; } >&2
  return 1
}

# build OUTPUT: builds it and prints what its tests say of themselves.
build() {
  limited nix build --no-link --print-build-logs "${inputs[@]}" "path:$scratch/flake$1" >"$scratch/log" 2>&1 ||
    { tail -n 60 "$scratch/log"; fail "nix build $1"; }
  grep -E 'test result:|> passed: |> skipped, ' "$scratch/log" || true
  echo "built $1"
}

[ $# -gt 0 ] || set -- evaluate templates systems cross cost build
for part in "$@"; do
  [ "$(type -t "check_$part")" = function ] || { echo "there is no part $part"; exit 2; }
done
main "$@"
