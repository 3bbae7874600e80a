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
      # At a start of the machine the store's volume may come after the agents.
      ProgramArguments = [
        "/bin/sh"
        "-c"
        "/bin/wait4path /nix/store && exec \"$@\""
        "jail"
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

  config.assertions = lib.concatLists (
    lib.mapAttrsToList (name: jail: [
      {
        assertion = jail.workspaceMode != "overlay";
        message = "services.nix-jail.jails.${name}.workspaceMode: macOS has no layers over a directory; use ro or rw, or work on a copy.";
      }
      {
        assertion = jail.service.user == null;
        message = "services.nix-jail.jails.${name}.service.user: an agent is its user's (system.primaryUser); leave it out.";
      }
      {
        assertion = jail.backend != "native";
        message = "services.nix-jail.jails.${name}.backend: native is for Linux; use auto or seatbelt.";
      }
    ]) cfg.jails
  );
}
