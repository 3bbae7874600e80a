# Jails as services: units of systemd, a private network and a proxy for each (`jail units` says what is in them).
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.nix-jail;
  services = lib.filterAttrs (_: jail: jail.service.enable) cfg.jails;

  # More about a unit that the program makes.
  dropIn = settings: settings // { overrideStrategy = "asDropin"; };

  # To a new system, a service that is in it no more is a changed one: its template is there still. Started again it does
  # nothing then.
  whileDeclared = dropIn {
    unitConfig.ConditionPathExists = "/etc/systemd/system/nix-jail.target.d/%i.conf";
  };
in
{
  _class = "nixos";
  imports = [ ./system.nix ];

  config = lib.mkIf (services != { }) {
    systemd.packages = [
      (import ../nix/jail/units.nix {
        inherit pkgs;
        inherit (cfg) package;
        jails = map (name: cfg.packages.${name}) (lib.attrNames services);
      })
    ];
    systemd.targets.nix-jail = dropIn { wantedBy = [ "multi-user.target" ]; };

    systemd.sockets."nix-jail-proxy@" = whileDeclared;

    # New rules hold for the job at work; all else takes a new one.
    systemd.services = {
      "nix-jail@" = whileDeclared;
      "nix-jail-proxy@" = whileDeclared;
    }
    // lib.concatMapAttrs (
      name: _:
      let
        inherit (cfg.packages.${name}) spec;
      in
      {
        "nix-jail@${name}" = dropIn {
          restartTriggers = [ (builtins.toJSON (removeAttrs spec [ "rules" ])) ];
        };
        "nix-jail-proxy@${name}" = dropIn {
          reloadTriggers = [ (builtins.toJSON (spec.rules or [ ])) ];
        };
      }
    ) services;

    assertions = lib.concatLists (
      lib.mapAttrsToList (name: jail: [
        {
          assertion = jail.command != [ ];
          message = "services.nix-jail.jails.${name}.command: a service runs a command, and there is none.";
        }
        {
          assertion = jail.service.user != "root";
          message = "services.nix-jail.jails.${name}.service.user: a jail is never root's; name another user, or none.";
        }
      ]) services
    );
  };
}
