{ pkgs, ... }:
{
  # What the agent works with, beside the shell, git and ripgrep that the jail has already.
  packages = [ pkgs.python3 ];

  # Its way out, beside api.anthropic.com.
  rules = [
    "GET,HEAD https://api.github.com/repos/**"
    "GET,HEAD https://docs.python.org"
  ];

  # A token that the agent uses without having it.
  credentials.GITHUB_TOKEN = {
    sources = [
      "env:GITHUB_TOKEN"
      "command:gh auth token"
    ];
    hosts = [ "api.github.com" ];
    optional = true;
  };

  limits = {
    memory = "8G";
    pids = 2000;
  };
}
