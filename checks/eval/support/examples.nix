# Jails that are compared with golden files here and given to the program by checks/nix-language.sh.
{
  jail,
  nix-jail,
  pkgs,
  lib,
  ...
}:
lib.mapAttrs (_: module: jail module) nix-jail.lib.jails
// {
  # Nothing but a name.
  least = jail { name = "least"; };

  # Everything that there is to say.
  most = jail {
    name = "most";
    description = "Every option once";
    command = [
      "${pkgs.hello}/bin/hello"
      "--greeting=a \"quoted\" word"
    ];
    packages = [
      pkgs.bash
      pkgs.git
    ];
    shell = pkgs.mkShell {
      packages = [ pkgs.cargo ];
      RUST_BACKTRACE = "1";
      PATH = "/of/the/shell";
      HTTPS_PROXY = "http://proxy.example:3128";
      shellHook = "touch /tmp/mark";
    };
    rules = [
      "deny https://api.example.com/admin/**"
      "GET,HEAD https://api.example.com/**"
      {
        hosts = [
          "github.com"
          "*.github.com"
        ];
        methods = [
          "GET"
          "POST"
        ];
        paths = [ "/me/repository.git/**" ];
        credential = "GITHUB_TOKEN";
      }
      {
        action = "deny";
        scheme = "wss";
        hosts = [ "*.example.com" ];
      }
      {
        scheme = "tcp";
        hosts = [ "db.example.net" ];
        ports = [ 5432 ];
      }
      {
        git = {
          repos = [ "git.example.com/team/*" ];
          push = [ "agent/*" ];
          force = true;
        };
        credential = "GITHUB_TOKEN";
      }
      "git git.example.com/other push=refs/tags/v* no-fetch"
    ];
    credentials = {
      GITHUB_TOKEN = {
        sources = [
          "env:GITHUB_TOKEN"
          "command:gh auth token"
        ];
        optional = true;
      };
      API_KEY = {
        sources = [ "file:/run/secrets/api#/key" ];
        hosts = [ "api.example.com" ];
        headers = [ "x-example-key" ];
        queryParameters = [ "key" ];
        inject = [ "header:authorization: Token token={}" ];
        group = "api";
        oauth = {
          token = "/key";
          refresh = "/refresh";
          expiry = "/expires";
          endpoint = "https://login.example.com/oauth/token";
          clientId = "the-client";
          refreshVariable = "API_REFRESH";
          cure = "the-program login";
        };
        allowForeign = true;
        redact = false;
      };
    };
    gateways = [
      {
        when = [ "API_BASE_URL" ];
        servers = [ "\${API_BASE_URL}" ];
        credentials = [
          {
            variable = "API_KEY";
            sources = [ "env:API_KEY" ];
          }
        ];
        replaces = "api";
      }
    ];
    environment.EDITOR = "vi";
    passEnvironment = [
      "GIT_AUTHOR_NAME"
      "TERM"
    ];
    workspaceMode = "overlay";
    protect = [ "deploy.sh" ];
    home = {
      kind = "persistent";
      import = [ ".config/agent/instructions.md" ];
      seed = [
        {
          path = ".config/agent.json";
          json.key = "\${dummy:API_KEY}";
          onlyMissing = true;
          credential = "API_KEY";
        }
      ];
    };
    binds = [
      "~/.gitconfig"
      {
        source = "/var/cache/models";
        target = "/models";
        writable = true;
      }
    ];
    limits = {
      memory = "4G";
      cpus = 1.5;
      pids = 512;
      timeout = 90;
      io = "20M";
      disk = "8G";
      proxyMemory = "128M";
    };
    hardening.allow = [
      "nested-user-namespaces"
      "scheduling"
      "set-user-id-files"
      "writable-executable-memory"
    ];
    upstream = {
      ca = [ "/etc/ssl/company.pem" ];
      proxy = "proxy.example.com:3128";
      noProxy = [ "intranet.example.com" ];
      connectTo = [ "api.example.com:443:10.1.2.3:8443" ];
    };
    service = {
      workspace = "/srv/project";
      user = "builder";
    };
    backend = "native";
    closure = {
      maxSize = "2G";
      forbid = [ pkgs.gcc ];
    };
  };
}
