# flake.nix itself, with packages that are names.
{
  lib,
  nix-jail,
  nixpkgs,
  ...
}:
let
  self =
    (import ../../flake.nix).outputs {
      inherit self nixpkgs;
      # Only what is in the checks looks at it, not what they are called.
      nix-darwin = { };
    }
    // {
      outPath = ../..;
    };
  systems = [
    "aarch64-darwin"
    "aarch64-linux"
    "x86_64-linux"
  ];
  inherit (self) apps packages;
in
{
  testOutputs = {
    expr = lib.attrNames (removeAttrs self [ "outPath" ]);
    expected = [
      "apps"
      "checks"
      "darwinModules"
      "devShells"
      "formatter"
      "homeModules"
      "lib"
      "nixosModules"
      "overlays"
      "packages"
      "templates"
    ];
  };
  testSystems = {
    expr = map lib.attrNames [
      self.apps
      self.checks
      self.devShells
      self.formatter
      self.packages
    ];
    expected = lib.genList (_: systems) 5;
  };
  testPackages = {
    expr = lib.mapAttrs (_: package: lib.hasSuffix ".drv" package.drvPath) packages.x86_64-linux;
    expected = lib.genAttrs (
      lib.attrNames nix-jail.lib.jails
      ++ [
        "default"
        "docs"
        "nix-jail"
        "nix-jail-static"
      ]
    ) (_: true);
  };
  testDevShell = {
    expr = lib.hasSuffix ".drv" self.devShells.x86_64-linux.default.drvPath;
    expected = true;
  };
  # Every file of this folder is a check, and so are jails that must not build.
  testChecks = {
    expr = lib.subtractLists (lib.attrNames self.checks.x86_64-linux) [
      "devshell-default"
      "eval-darwin"
      "eval-flake"
      "eval-home"
      "eval-nixos"
      "eval-options"
      "eval-spec"
      "eval-templates"
      "jail-bad-rule"
      "jail-forbidden"
      "jail-too-large"
      "package-docs"
      "package-nix-jail"
      "package-shell"
    ];
    expected = [ ];
  };
  # `nix flake check` wants it.
  testAppsAreDescribed = {
    expr = lib.mapAttrs (_: app: app.type == "app" && app.meta.description != "") apps.x86_64-linux;
    expected = {
      default = true;
      jail = true;
    };
  };
  testDefaults = {
    expr = [
      (packages.x86_64-linux.default == packages.x86_64-linux.nix-jail)
      (apps.x86_64-linux.default == apps.x86_64-linux.jail)
    ];
    expected = [
      true
      true
    ];
  };
  testOverlay = {
    expr = lib.attrNames (self.overlays.default nixpkgs.legacyPackages.x86_64-linux { });
    expected = [ "nix-jail" ];
  };
  testModulesAreFiles = {
    expr = lib.all lib.pathExists [
      self.nixosModules.default
      self.darwinModules.default
      self.homeModules.default
    ];
    expected = true;
  };
  testTemplatesAreFlakes = {
    expr = lib.all (template: lib.pathExists (template.path + "/flake.nix")) (
      lib.attrValues self.templates
    );
    expected = true;
  };
}
