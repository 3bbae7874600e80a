# Every file of this folder is a set of tests: nix-instantiate --eval --strict --json -A failures
# The libraries come from NIX_PATH: nixpkgs=… (its lib is enough), nixos=… (nixpkgs' nixos), nix-darwin=….
{
  lib ? import <nixpkgs/lib>,
  nixos ? import ./support/find.nix "nixos",
  nix-darwin ? import ./support/find.nix "nix-darwin",
  nixpkgs ? null,
}:
let
  support = import ./support {
    inherit
      lib
      nixos
      nix-darwin
      nixpkgs
      ;
  };

  # Why a file of tests cannot run here.
  obstacles = lib.filterAttrs (_: obstacle: obstacle != null) {
    "darwin.nix" = if nix-darwin == null then "no <nix-darwin> in NIX_PATH" else null;
    "machines.nix" = if nixos == null then "no <nixos> in NIX_PATH" else null;
    "nixos.nix" = if nixos == null then "no <nixos> in NIX_PATH" else null;
    # nixpkgs' lib tells files from directories by it.
    "package.nix" = if builtins ? readFileType then null else "Nix is older than 2.14";
    "templates.nix" = if nixos == null && nixpkgs == null then "no <nixos> in NIX_PATH" else null;
  };
  files = lib.filterAttrs (file: kind: kind == "regular" && file != "default.nix") (
    builtins.readDir ./.
  );
  runnable = lib.subtractLists (lib.attrNames obstacles) (lib.attrNames files);
in
{
  # By file: what `lib.runTests` has to say, nothing where all is well.
  failures = lib.genAttrs runnable (file: lib.runTests (import (./. + "/${file}") support));
  tests = lib.genAttrs runnable (file: lib.attrNames (import (./. + "/${file}") support));
  skipped = lib.concatStringsSep "; " (
    lib.mapAttrsToList (file: obstacle: "checks/eval/${file}: ${obstacle}") obstacles
  );

  # Specifications for the program itself to check.
  specs = lib.mapAttrs (_: jail: jail.spec) support.examples;

  specNames = lib.attrNames support.examples;

  optionReference = (import ../../nix/docs.nix { inherit lib; }).options;
}
