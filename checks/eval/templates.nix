# What `nix flake init` copies evaluates as it is.
{
  failures,
  lib,
  nix-jail,
  nixpkgs,
  ...
}:
let
  templates = import ../../templates;
  outputs =
    name:
    let
      self = (import (templates.${name}.path + "/flake.nix")).outputs { inherit self nix-jail nixpkgs; };
    in
    self;
  inherit ((outputs "nixos").nixosConfigurations) host;
  isDerivation = package: lib.hasSuffix ".drv" package.drvPath;
in
{
  # Each is looked at below.
  testEveryTemplate = {
    expr = lib.attrNames templates;
    expected = [
      "claude"
      "default"
      "devshell"
      "nixos"
    ];
  };

  testClaude = {
    expr = lib.mapAttrs (_: packages: isDerivation packages.default) (outputs "claude").packages;
    expected = {
      aarch64-darwin = true;
      aarch64-linux = true;
      x86_64-linux = true;
    };
  };
  testClaudeHasItsPolicy = {
    expr = lib.elem "GET,HEAD https://docs.python.org" (outputs "claude")
    .packages.x86_64-linux.default.spec.rules;
    expected = true;
  };

  testDevshell = {
    expr = lib.mapAttrs (_: packages: isDerivation packages.default) (outputs "devshell").packages;
    expected = {
      aarch64-darwin = true;
      aarch64-linux = true;
      x86_64-linux = true;
    };
  };
  testDevshellIsInside = {
    expr =
      let
        inherit ((outputs "devshell").packages.x86_64-linux.default) spec;
      in
      [
        spec.closure.environment.RUST_BACKTRACE
        (lib.any (lib.hasInfix "cargo") spec.closure.path)
      ];
    expected = [
      "1"
      true
    ];
  };

  testNixos = {
    expr = lib.attrNames host.config.services.nix-jail.packages;
    expected = [
      "claude"
      "fetch"
    ];
  };
  testNixosHolds = {
    expr = failures host;
    expected = [ ];
  };
}
