{ config, lib, ... }:
let
  cfg = config.services.nix-jail;
in
{
  _class = "darwin";
  imports = [ ./system.nix ];

  # Agents of the user: the keychain with the credentials is the user's, a daemon of the system cannot read it.
  config.launchd.user.agents = lib.mapAttrs' (name: jail: {
    name = "nix-jail-${name}";
    value.serviceConfig = {
      ProgramArguments = [
        (lib.getExe cfg.package)
        "run"
        name
        "--workspace"
        (if jail.service.workspace == null then "none" else jail.service.workspace)
      ];
      EnvironmentVariables.JAIL_PATH = "${cfg.packages.${name}}/share/nix-jail";
      RunAtLoad = true;
      KeepAlive = true;
    };
  }) (lib.filterAttrs (_: jail: jail.service.enable) cfg.jails);
}
