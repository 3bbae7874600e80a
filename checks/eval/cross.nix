# A jail for another platform than the builder's: the builder runs programs of its own platform only.
{
  lib,
  nix-jail,
  pkgs,
  ...
}:
let
  foreign = pkgs // {
    stdenv = pkgs.stdenv // {
      hostPlatform = lib.systems.elaborate "aarch64-linux";
    };
    buildPackages = pkgs // {
      nix-jail = program "of-the-builder";
    };
    nix-jail = program "of-the-host";
  };
  program = name: pkgs.writeText name "";

  jailOf =
    pkgs:
    nix-jail.lib.mkJail {
      inherit pkgs;
      modules = [ { name = "cross"; } ];
    };
  unitsOf =
    pkgs:
    import ../../nix/jail/units.nix {
      inherit pkgs;
      package = pkgs.nix-jail;
      jails = [ (jailOf pkgs) ];
    };
  # The program of a line in a builder's script.
  programOf =
    command: derivation:
    lib.concatMap (
      line:
      let
        found = builtins.match " *(exec )?/.*/[0-9a-z]+-([a-z-]+)/bin/jail ${command}.*" line;
      in
      lib.optional (found != null) (lib.last found)
    ) (lib.splitString "\n" (builtins.unsafeDiscardStringContext derivation.script));
in
{
  testChecks = {
    expr = programOf "check" (jailOf foreign);
    expected = [ "of-the-builder" ];
  };
  testRuns = {
    expr = programOf "run" (jailOf foreign);
    expected = [ "of-the-host" ];
  };
  testMakesUnits = {
    expr = programOf "units" (unitsOf foreign);
    expected = [ "of-the-builder" ];
  };
  # The builder's program is not built where the host's runs.
  testNative = {
    expr = programOf "check" (jailOf pkgs);
    expected = [ "nix-jail" ];
  };
}
