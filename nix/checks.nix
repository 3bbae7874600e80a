{
  self,
  nixpkgs,
  nix-darwin,
  system,
}:
let
  inherit (nixpkgs) lib;
  pkgs = nixpkgs.legacyPackages.${system};
  packages = self.packages.${system};

  prefixed = prefix: lib.mapAttrs' (name: lib.nameValuePair "${prefix}-${name}");

  evaluation = import ../checks/eval {
    inherit lib nix-darwin nixpkgs;
    nixos = nixpkgs + "/nixos";
  };
  failures = lib.mapAttrs' (
    file: lib.nameValuePair (lib.removeSuffix ".nix" file)
  ) evaluation.failures;
  nothingFailed =
    name: failures:
    lib.throwIf (failures != [ ]) "checks/eval/${name}.nix: ${lib.generators.toPretty { } failures}" (
      pkgs.runCommandLocal "eval-${name}" { } "touch $out"
    );

  jail =
    settings:
    self.lib.mkJail {
      inherit pkgs;
      package = packages.nix-jail;
      modules = [ ({ name = "check"; } // settings) ];
    };
  doesNotBuild =
    reason: settings:
    let
      failed = pkgs.testers.testBuildFailure (jail settings);
    in
    pkgs.runCommandLocal "does-not-build" { } ''
      grep -F ${lib.escapeShellArg reason} ${failed}/testBuildFailure.log
      touch $out
    '';

  machines = lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux (
    lib.mapAttrs' (
      file: _:
      lib.nameValuePair (lib.removeSuffix ".nix" file) (
        pkgs.testers.runNixOSTest (../checks/vm + "/${file}")
      )
    ) (lib.filterAttrs (file: _: lib.hasSuffix ".nix" file) (builtins.readDir ../checks/vm))
  );

  # One agent less in the checks is one download less: their specifications are compared in checks/eval.
  built = {
    inherit (packages) docs nix-jail shell;
  };
in
prefixed "package" built
// prefixed "package-nix-jail" packages.nix-jail.tests
// prefixed "devshell" self.devShells.${system}
// prefixed "eval" (lib.mapAttrs nothingFailed failures)
// prefixed "vm" machines
// prefixed "jail" {
  bad-rule = doesNotBuild "rules[0]" { rules = [ "https://" ]; };
  undeclared-credential = doesNotBuild "not declared" {
    rules = [
      {
        hosts = [ "example.com" ];
        credential = "TOKEN";
      }
    ];
  };
  too-large = doesNotBuild "closure.maxSize" {
    packages = [ pkgs.hello ];
    closure.maxSize = 1;
  };
  forbidden = doesNotBuild "closure.forbid" {
    packages = [ pkgs.hello ];
    closure.forbid = [ pkgs.hello ];
  };
}
