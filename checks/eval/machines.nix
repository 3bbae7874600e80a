# The machines of checks/vm, in the whole module tree of NixOS.
{
  failures,
  lib,
  nixos,
  ...
}:
let
  machine =
    test:
    nixos [
      (import (../vm + "/${test}.nix") { inherit lib; }).nodes.machine
      # What a machine under test has beside a host.
      { options.virtualisation.memorySize = lib.mkOption { type = lib.types.ints.positive; }; }
    ];
in
{
  testNothingFails = {
    expr = lib.concatMap (test: failures (machine test)) [
      "ad-hoc"
      "declared"
    ];
    expected = [ ];
  };
  testJailsAreServices = {
    expr = lib.filter (lib.hasPrefix "nix-jail@") (
      lib.attrNames (machine "declared").config.systemd.services
    );
    expected = [
      "nix-jail@two"
      "nix-jail@web"
    ];
  };
  testScenariosExist = {
    expr = lib.filter (name: !lib.pathExists (../vm/scenarios + "/${name}.sh")) (
      lib.concatMap
        (
          test:
          lib.concatMap (found: if lib.isList found then found else [ ]) (
            builtins.split "\"([0-9]{2}-[a-z-]+)\""
              (import (../vm + "/${test}.nix") { inherit lib; }).testScript
          )
        )
        [
          "ad-hoc"
          "declared"
        ]
    );
    expected = [ ];
  };
}
