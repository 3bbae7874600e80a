{
  lib,
  nix-jail,
  pkgs,
  ...
}:
{
  # Claude Code is not free software: this line accepts its licence.
  nixpkgs.config.allowUnfreePredicate = package: lib.getName package == "claude-code";

  services.nix-jail.jails = {
    # The command `claude`, for every user, with that user's own login.
    claude = {
      imports = [ nix-jail.lib.jails.claude ];
      rules = [ "GET,HEAD https://api.github.com/repos/**" ];
      limits.memory = "8G";
    };

    # The command `fetch URL`: curl that can reach one site and cannot write to the workspace.
    fetch = {
      description = "curl for example.com alone";
      packages = [ pkgs.curl ];
      command = [
        "curl"
        "--fail"
        "--location"
      ];
      rules = [ "GET,HEAD https://example.com" ];
      workspaceMode = "ro";
      closure.maxSize = "200M";
    };
  };
}
