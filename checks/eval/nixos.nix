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
  servedWith =
    more:
    jails {
      served = {
        packages = [ pkgs.curl ];
        command = [
          "curl"
          "https://example.com"
        ];
        rules = lib.mkDefault [ "example.com" ];
        service.enable = true;
        imports = [ more ];
      };
    };
  served = servedWith { };

  # What a change does to the units that run: what the triggers of another system say.
  changed =
    more:
    let
      triggers =
        system:
        unitsOf system "services" (unit: {
          restarts = unit.restartTriggers;
          reloads = unit.reloadTriggers;
        });
      old = triggers served;
      new = triggers (servedWith more);
      differs = unit: trigger: old.${unit}.${trigger} != new.${unit}.${trigger};
    in
    lib.concatMap (
      unit: map (trigger: "${unit} ${trigger}") (lib.filter (differs unit) (lib.attrNames old.${unit}))
    ) (lib.attrNames old);

  # Something of each of our units of a kind.
  unitsOf =
    system: kind: of:
    lib.mapAttrs (_: of) (
      lib.filterAttrs (name: _: lib.hasPrefix "nix-jail" name) system.config.systemd.${kind}
    );
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

  # The units are the program's; the system says when they start, and what a change of the jail does to them.
  testServiceUnits = {
    expr = map (package: map toString package.specifications) (
      lib.filter (package: lib.getName package == "nix-jail-units") served.config.systemd.packages
    );
    expected = [
      [ "${served.config.services.nix-jail.packages.served}/share/nix-jail/served.json" ]
    ];
  };
  testServiceStarts = {
    expr = unitsOf served "targets" (unit: unit.wantedBy);
    expected = {
      nix-jail = [ "multi-user.target" ];
    };
  };
  testServiceDropIns = {
    expr = unitsOf served "services" (unit: unit.overrideStrategy);
    expected = {
      "nix-jail@" = "asDropin";
      "nix-jail@served" = "asDropin";
      "nix-jail-proxy@" = "asDropin";
      "nix-jail-proxy@served" = "asDropin";
    };
  };
  # A switch to a system without the jail stops it, and starts nothing in its place: `jail units` makes this file for each
  # jail (checks/vm/scenarios/84-declared-refused.sh has such a unit started again).
  testServiceIsWhileDeclared = {
    expr = lib.mapAttrs (_: conditions: lib.unique (lib.attrValues conditions)) {
      services = lib.filterAttrs (name: _: lib.hasSuffix "@" name) (
        unitsOf served "services" (unit: unit.unitConfig)
      );
      sockets = unitsOf served "sockets" (unit: unit.unitConfig);
    };
    expected = lib.genAttrs [ "services" "sockets" ] (_: [
      { ConditionPathExists = "/etc/systemd/system/nix-jail.target.d/%i.conf"; }
    ]);
  };
  testRulesReload = {
    expr = changed { rules = [ "example.net" ]; };
    expected = [ "nix-jail-proxy@served reloads" ];
  };
  testAllElseRestarts = {
    expr = changed { environment.EDITOR = "vi"; };
    expected = [ "nix-jail@served restarts" ];
  };
  testServicePasses = {
    expr = failures served;
    expected = [ ];
  };
  testNoServiceNoUnits = {
    expr = [
      (unitsOf twoJails "services" (_: null))
      (unitsOf twoJails "targets" (_: null))
    ];
    expected = [
      { }
      { }
    ];
  };
  testServiceNeedsACommand = {
    expr = failures (jails {
      x.service.enable = true;
    });
    expected = [
      "services.nix-jail.jails.x.command: a service runs a command, and there is none."
    ];
  };
  testServiceIsNotRoot = {
    expr = failures (jails {
      x = {
        command = [ "true" ];
        service = {
          enable = true;
          user = "root";
        };
      };
    });
    expected = [
      "services.nix-jail.jails.x.service.user: a jail is never root's; name another user, or none."
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
