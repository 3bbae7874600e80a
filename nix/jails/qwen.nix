{ lib, pkgs, ... }:
{
  imports = [ (lib.modules.importApply ../jail/preset.nix ../../rust/jail/presets/qwen.json) ];

  packages = [
    pkgs.qwen-code
    pkgs.git
    pkgs.ripgrep
  ];
}
