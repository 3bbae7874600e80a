{ lib, pkgs, ... }:
{
  imports = [ (lib.modules.importApply ../jail/preset.nix ../../rust/jail/presets/claude.json) ];

  packages = [
    pkgs.claude-code
    pkgs.git
    pkgs.ripgrep
  ];
}
