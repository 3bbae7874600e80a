# The NixOS module in the whole module tree of NixOS.
{
  failures,
  lib,
  nix-jail,
  nixos,
  pkgs,
  refused,
  ...
}:
let
  jails = jails: nixos [ { services.nix-jail = { inherit jails; }; } ];
  twoJails = jails {
    claude = nix-jail.lib.jails.claude;
    fetch = {
      packages = [ pkgs.curl ];
      command = [ "curl" ];
      rules = [ "example.com" ];
    };
  };
  ours =
    system:
    lib.filter (name: lib.hasPrefix "nix-jail" name) (lib.attrNames system.config.environment.etc);
  commands =
    system:
    lib.filter (
      name:
      lib.elem name [
        "claude"
        "fetch"
        "nix-jail"
      ]
    ) (map lib.getName system.config.environment.systemPackages);
in
{
  testCommands = {
    expr = commands twoJails;
    expected = [
      "nix-jail"
      "claude"
      "fetch"
    ];
  };
  testFiles = {
    expr = ours twoJails;
    expected = [
      "nix-jail/claude.json"
      "nix-jail/fetch.json"
    ];
  };
  testFilesAreTheJails = {
    expr =
      let
        inherit (twoJails.config.environment.etc."nix-jail/fetch.json") source;
      in
      toString source == "${twoJails.config.services.nix-jail.packages.fetch}/share/nix-jail/fetch.json";
    expected = true;
  };
  testNames = {
    expr = lib.mapAttrs (_: package: package.spec.name) twoJails.config.services.nix-jail.packages;
    expected = {
      claude = "claude";
      fetch = "fetch";
    };
  };
  # A ready-made jail goes by the name it is declared by.
  testReadyMadeUnderAnotherName = {
    expr =
      let
        system = jails { work = nix-jail.lib.jails.claude; };
      in
      [
        system.config.services.nix-jail.packages.work.spec.name
        (failures system)
      ];
    expected = [
      "work"
      [ ]
    ];
  };
  testNothingFails = {
    expr = failures twoJails;
    expected = [ ];
  };

  # Imported and not used it changes nothing.
  testUnused = {
    expr = commands (jails { }) ++ ours (jails { });
    expected = [ ];
  };
  testProgramAlone = {
    expr = commands (nixos [ { services.nix-jail.enable = true; } ]);
    expected = [ "nix-jail" ];
  };

  # The service comes with NixOS' units; until then it is refused, not ignored.
  testServiceSaysSo = {
    expr = failures (jails {
      x.service.enable = true;
    });
    expected = [
      "services.nix-jail.jails.x.service.enable: there are no units on NixOS yet; run `x`, or write a unit that runs it."
    ];
  };
  testSecretInTheStore = {
    expr = map (lib.hasInfix "replace the secret") (
      failures (jails {
        x.credentials.TOKEN = {
          sources = [ "file:${./nixos.nix}" ];
          hosts = [ "example.com" ];
        };
      })
    );
    expected = [ true ];
  };
  testAnotherName = {
    expr = failures (jails {
      x.name = "y";
    });
    expected = [
      "services.nix-jail.jails.x.name: a jail has the name it is declared by; call the attribute y."
    ];
  };
  testUnknownOption = {
    expr = refused (
      commands (jails {
        x.rule = "example.com";
      })
    );
    expected = true;
  };
}
