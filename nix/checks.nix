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

  # Each file of checks/eval is evaluated in a build: a test that fails, or does not evaluate, is a failed build, and
  # `nix flake show` and `nix flake check --no-build` evaluate none of them.
  evaluate =
    file:
    pkgs.runCommandLocal "eval-${file}"
      {
        nativeBuildInputs = [ pkgs.nix ];
        NIX_PATH = "nixpkgs=${nixpkgs}:nixos=${nixpkgs}/nixos:nix-darwin=${nix-darwin}";
      }
      ''
        export HOME=$TMPDIR NIX_STATE_DIR=$TMPDIR/state NIX_LOG_DIR=$TMPDIR/log
        nix-instantiate --eval --strict --json ${self}/checks/eval \
          --arg nixpkgs 'import ${self}/checks/eval/support/whole.nix ${nixpkgs}' \
          -A 'failures."${file}.nix"' > failures
        if [ "$(cat failures)" != '[]' ]; then
          echo "checks/eval/${file}.nix: $(cat failures)" >&2
          exit 1
        fi
        touch $out
      '';
  evaluations =
    lib.mapAttrs'
      (
        file: _:
        let
          name = lib.removeSuffix ".nix" file;
        in
        lib.nameValuePair name (evaluate name)
      )
      (
        lib.filterAttrs (file: _: isNixFile file && file != "default.nix") (builtins.readDir ../checks/eval)
      );
  isNixFile = lib.hasSuffix ".nix";

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
    ) (lib.filterAttrs (file: _: isNixFile file) (builtins.readDir ../checks/vm))
  );

  # One agent less in the checks is one download less: their specifications are compared in checks/eval.
  built = {
    inherit (packages) docs nix-jail shell;
  };

  withoutKvm =
    prefixed "package" built
    // prefixed "package-nix-jail" packages.nix-jail.tests
    // prefixed "devshell" self.devShells.${system}
    // prefixed "eval" evaluations
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
    };
in
withoutKvm
// prefixed "vm" machines
// {
  # For machines without KVM, where `nix flake check` cannot build the others.
  without-kvm = pkgs.runCommandLocal "checks-without-kvm" { checks = lib.attrValues withoutKvm; } ''
    echo "passed: ${toString (lib.attrNames withoutKvm)}"
    echo "skipped, they need KVM: ${toString (lib.attrNames (prefixed "vm" machines))}"
    touch $out
  '';
}
