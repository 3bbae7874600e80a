{ pkgs, ... }:
{
  # Programs for the agent. The preset already has a shell, git and ripgrep.
  packages = [ pkgs.python3 ];

  # What the agent may reach. The preset already allows api.anthropic.com.
  rules = [
    "GET,HEAD https://api.github.com/repos/**"
    "GET,HEAD https://docs.python.org"
  ];

  # A token that the agent uses but never sees: the jail has a dummy, the proxy inserts the real one.
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
