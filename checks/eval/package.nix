# The program's package, as far as it is an expression.
{ lib, pkgs, ... }:
let
  packageFor =
    stdenv:
    import ../../nix/package.nix {
      inherit lib stdenv;
      rustPlatform.buildRustPackage =
        attributes:
        lib.fix (
          self:
          attributes {
            finalPackage = self // {
              overrideAttrs = change: self // change self;
            };
          }
        );
      installShellFiles = pkgs.hello;
      inherit (pkgs) cargo-deny clippy rustfmt;
    };
  package = packageFor pkgs.stdenv;
  static = packageFor (lib.recursiveUpdate pkgs.stdenv { hostPlatform.isStatic = true; });
  lines = file: lib.splitString "\n" (lib.readFile file);
in
{
  testVersion = {
    expr = lib.elem ''version = "${package.version}"'' (lines ../../rust/Cargo.toml);
    expected = true;
  };
  # Every member of the workspace is in the source; a path that is not there would be an error.
  testSource = {
    expr = lib.isString "${package.src}";
    expected = true;
  };
  testTests = {
    expr = lib.mapAttrs (_: test: test.pname) package.passthru.tests;
    expected = {
      clippy = "nix-jail-clippy";
      deny = "nix-jail-deny";
      fmt = "nix-jail-fmt";
    };
  };
  testEndToEnd = {
    expr = package.passthru.endToEnd.pname;
    expected = "nix-jail-end-to-end";
  };
  # The two places where it is said.
  testSettingsOfCargo = {
    expr = lib.elem "AWS_LC_SYS_NO_JITTER_ENTROPY = \"${package.env.AWS_LC_SYS_NO_JITTER_ENTROPY}\"" (
      lines ../../.cargo/config.toml
    );
    expected = true;
  };
  testCryptography = {
    expr = map (package: [ package.buildNoDefaultFeatures ] ++ package.buildFeatures) [
      package
      static
    ];
    expected = [
      [ false ]
      [
        true
        "ring"
      ]
    ];
  };
  testProgram = {
    expr = package.meta.mainProgram;
    expected = "jail";
  };
}
