{ lib, pkgs, ... }:
{
  imports = [ (lib.modules.importApply ../jail/preset.nix ../../rust/jail/presets/shell.json) ];

  packages = [
    pkgs.curl
    pkgs.git
    pkgs.nodejs
    pkgs.python3
    pkgs.ripgrep
  ];
}
