{ config, lib, ... }:
{
  _class = "nixos";
  imports = [ ./system.nix ];

  config.assertions = lib.mapAttrsToList (name: jail: {
    assertion = !jail.service.enable;
    message = "services.nix-jail.jails.${name}.service.enable: there are no units on NixOS yet; run `${name}`, or write a unit that runs it.";
  }) config.services.nix-jail.jails;
}
