let
  claude = {
    path = ./claude;
    description = "A project with a Claude Code jail and its own policy";
  };
in
{
  inherit claude;
  default = claude;
  devshell = {
    path = ./devshell;
    description = "A dev shell, and a jail around it";
  };
  nixos = {
    path = ./nixos;
    description = "A NixOS host with two declared jails";
  };
}
