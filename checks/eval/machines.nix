# The tests of checks/vm, by NixOS' own framework: their machines in the whole module tree, and what runs on them.
{
  failures,
  lib,
  nixosTest,
  ...
}:
let
  files = lib.filterAttrs (file: _: lib.hasSuffix ".nix" file) (builtins.readDir ../vm);
  tests = lib.mapAttrs (file: _: (nixosTest (../vm + "/${file}")).config) files;

  # Something of each test, by its name.
  of =
    what:
    lib.mapAttrs' (_: test: {
      name = lib.removePrefix "nix-jail-" test.name;
      value = what test;
    }) tests;
in
{
  testNothingFails = {
    expr = lib.concatMap (
      test: lib.concatMap (machine: failures { config = machine; }) (lib.attrValues test.nodes)
    ) (lib.attrValues tests);
    expected = [ ];
  };
  testMachines = {
    expr = of (test: lib.attrNames test.nodes);
    expected =
      lib.genAttrs [ "credentials" "declared" "limits" ] (_: [
        "machine"
        "upstream"
      ])
      // lib.genAttrs [ "ad-hoc" "attacks" ] (_: [ "machine" ]);
  };
  testServices = {
    expr = of (
      test:
      map (lib.removePrefix "nix-jail@") (
        lib.filter (lib.hasPrefix "nix-jail@") (lib.attrNames test.nodes.machine.systemd.services)
      )
    );
    expected = {
      ad-hoc = [ ];
      attacks = [ ];
      # The first of them is what all have in common.
      credentials = [
        ""
        "file"
        "lenient"
        "sealed"
        "strict"
      ];
      declared = [
        ""
        "brief"
        "fails"
        "life"
        "two"
        "web"
      ];
      limits = [
        ""
        "bomb"
        "hard"
        "short"
        "soft"
      ];
    };
  };
  # Where each of the scenarios that a test names is.
  testScenariosExist = {
    expr = lib.filter (name: !lib.pathExists (../vm/scenarios + "/${name}.sh")) (
      lib.concatMap (
        test:
        lib.concatMap (found: if lib.isList found then found else [ ]) (
          builtins.split "\"([0-9]{2}-[a-z-]+)\"" test.testScriptString
        )
      ) (lib.attrValues tests)
    );
    expected = [ ];
  };
  testEveryTestHasAScenario = {
    expr = of (
      test:
      builtins.match ".*\"[0-9]{2}-[a-z-]+\".*" (
        lib.replaceStrings [ "\n" ] [ " " ] test.testScriptString
      ) != null
    );
    expected = of (_: true);
  };
}
