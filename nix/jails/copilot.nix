{ lib, pkgs, ... }:
{
  imports = [ (lib.modules.importApply ../jail/preset.nix ../../rust/jail/presets/copilot.json) ];

  packages = [
    pkgs.github-copilot-cli
    pkgs.git
    pkgs.ripgrep
  ];
}
