# The options of one jail; each of the module systems has them as a submodule, `mkJail` evaluates them alone.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;

  listOf =
    type: description: example:
    mkOption {
      type = types.listOf type;
      default = [ ];
      inherit description example;
    };
  optional =
    type: description: example:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description example;
    };
  flag =
    default: description:
    mkOption {
      type = types.bool;
      inherit default description;
      example = !default;
    };

  jailName = types.strMatching "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}" // {
    description = "name of at most 64 letters, digits, `-`, `_` and `.`";
  };
  variableName = types.strMatching "[A-Za-z_][A-Za-z0-9_]*" // {
    description = "name of an environment variable";
  };
  userName = types.strMatching "[a-z_][a-z0-9_-]*" // {
    description = "name of a user";
  };
  source = types.strMatching "(command|env|file|keyring|systemd):.+" // {
    description = "string of the form env:VAR, file:PATH, command:PROGRAM ARGUMENTS, keyring:SERVICE[/ACCOUNT] or systemd:NAME";
  };
  place =
    types.strMatching "well-known|(header|query|cookie):.+|basic:(user|password)|aws:(access-key-id|secret-access-key|session-token)(/.*)?"
    // {
      description = "string of the form well-known, header:NAME, `header:NAME: Token token={}`, basic:user, basic:password, query:NAME, cookie:NAME, aws:access-key-id, aws:secret-access-key or aws:session-token";
    };
  bytes = types.coercedTo types.ints.positive toString (types.strMatching "[0-9]+[KMGT]?") // {
    description = "number of bytes, or a string like 512M or 2G";
  };
  span = types.coercedTo types.ints.positive toString (types.strMatching "[0-9]+[smhd]?") // {
    description = "number of seconds, or a string like 30s, 10m or 2h";
  };

  git = types.submodule {
    options = {
      repos = mkOption {
        type = types.nonEmptyListOf types.str;
        example = [ "github.com/OWNER/REPO" ];
        description = "`HOST[:PORT]/PATH` of the repositories; `*` stays within one part of a path.";
      };
      fetch = flag true "Whether they may be cloned and fetched.";
      push =
        listOf types.str
          "The refs that may be made and moved on: branches or full names, `*` within one part, `^` in front takes out."
          [
            "agent/*"
            "refs/tags/v*"
          ];
      force = flag false "Whether these refs may also be moved to where they lose commits.";
      delete = flag false "Whether these refs may be deleted.";
    };
  };

  rule = types.submodule {
    options = {
      action = mkOption {
        type = types.enum [
          "allow"
          "deny"
        ];
        default = "allow";
        example = "deny";
        description = "What becomes of a request that the rule matches.";
      };
      scheme = mkOption {
        type = types.enum [
          "https"
          "http"
          "wss"
          "ws"
          "tcp"
        ];
        default = "https";
        example = "tcp";
        description = "How the request travels. `tcp` is opaque and needs `ports`; `wss` and `ws` are WebSockets only.";
      };
      hosts =
        listOf types.str
          "Names, `*.NAME` for sub-domains, or address ranges in CIDR form. Every rule but one of git has some."
          [
            "api.github.com"
            "*.githubusercontent.com"
          ];
      ports = listOf types.port "The ports; none means the scheme's own." [ 8443 ];
      methods = listOf types.str "The HTTP methods; none means all." [
        "GET"
        "HEAD"
      ];
      paths =
        listOf types.str "Globs of the path, `*` within one part of it, `**` across; none means all."
          [
            "/repos/me/**"
          ];
      git = mkOption {
        type = types.nullOr git;
        default = null;
        example = {
          repos = [ "github.com/me/project" ];
          push = [ "agent/*" ];
        };
        description = "What git may do, in place of everything above: these repositories and refs, and nothing else of the host.";
      };
      credential =
        optional variableName "The credential that these requests use, and no other requests do."
          "GITHUB_TOKEN";
    };
  };

  credential = types.submodule {
    options = {
      sources = mkOption {
        type = types.nonEmptyListOf source;
        example = [
          "env:GITHUB_TOKEN"
          "command:gh auth token"
          "file:~/.claude/.credentials.json#/claudeAiOauth/accessToken"
        ];
        description = "Where the real one is, in order: the first that exists is used. Each may end in `#/json/pointer`.";
      };
      hosts =
        listOf types.str
          "The hosts that get the real one. Needed unless a rule names the credential, by which it goes then, or it is optional and waits for one."
          [ "api.github.com" ];
      headers =
        listOf types.str "Header names that carry it, beside `Authorization`, `x-api-key` and their like."
          [ "x-figma-token" ];
      queryParameters = listOf types.str "Query parameters that carry it." [ "access_token" ];
      inject =
        listOf place
          "Where it stands in a request, in place of `Authorization`, `x-api-key` and their like (`well-known`)."
          [
            "header:authorization: Token token={}"
            "cookie:session"
          ];
      group =
        optional types.str
          "Credentials of one group are alternatives: in the order of their variables' names, the first that is found is used."
          "claude";
      oauth = mkOption {
        type = types.nullOr oauth;
        default = null;
        example = lib.literalExpression ''
          {
            token = "/access_token";
            refresh = "/refresh_token";
            endpoint = "https://login.example.com/oauth/token";
            clientId = "the-program";
          }
        '';
        description = "How the login that a source holds is renewed, before it expires or when a server refuses it.";
      };
      optional = flag false "Whether the job starts without it.";
      allowForeign = flag false "Whether the job may use keys of its own towards these hosts.";
      redact = flag true "Whether the dummy takes the place of the real one in answers.";
    };
  };

  oauth = types.submodule {
    options =
      let
        text =
          description: example:
          mkOption {
            type = types.str;
            inherit description example;
          };
      in
      {
        token = text "The JSON pointer of the access token: a `file:` or `keyring:` source that ends in it holds such a login, others are used as they are." "/claudeAiOauth/accessToken";
        refresh = text "The JSON pointer of the refresh token." "/claudeAiOauth/refreshToken";
        expiry =
          optional types.str
            "The JSON pointer of the time at which the access token expires (seconds or milliseconds since 1970)."
            "/claudeAiOauth/expiresAt";
        endpoint = text "The URL that gives new tokens." "https://login.example.com/oauth/token";
        clientId = text "The client id that the login was made with." "the-program";
        refreshVariable =
          optional variableName
            "The variable that holds a dummy of the refresh token inside, for programs that renew by themselves: the proxy answers them."
            "EXAMPLE_REFRESH_TOKEN";
        cure = optional types.str "What makes a new login on the host, for errors." "claude /login";
      };
  };

  bind = types.submodule {
    options = {
      source = mkOption {
        type = types.str;
        example = "~/.gitconfig";
        description = "On the host; `~/` is the operator's home.";
      };
      target = optional types.str "In the jail; the same path if left out." "/etc/gitconfig";
      writable = flag false "Whether the job may write to it.";
    };
  };

  homeKind = types.enum [
    "ephemeral"
    "persistent"
  ];
  home = types.submodule {
    options = {
      kind = mkOption {
        type = homeKind;
        default = "ephemeral";
        example = "persistent";
        description = "What becomes of it: gone at the end, or kept for the next job of this jail in the same workspace.";
      };
      seed =
        listOf seed
          "Files that are written into it before each job starts, so that a program finds its settings. In strings, `\${dummy:VAR}` is the dummy of a credential, `\${dummyEnd:VAR}` the last 20 characters of it and `\${workspace}` the path of the workspace."
          [
            {
              path = ".config/agent.json";
              json.key = "\${dummy:AGENT_KEY}";
            }
          ];
      import =
        listOf types.str
          "Files and directories of the operator's home, relative to it, that are in the job's home, read-only, at the same place. Those that do not exist are left out; services have none."
          [ ".config/agent/instructions.md" ];
    };
  };
  seed = types.submodule {
    options = {
      path = mkOption {
        type = types.str;
        example = ".config/agent.json";
        description = "The file, relative to the home directory.";
      };
      json = members "a JSON object";
      toml = members "a TOML file";
      text = optional types.lines "The whole file, in place of members." "plain text";
      onlyMissing = flag false "Whether only what the file does not have yet is written.";
      credential =
        optional variableName "The credential without which the file is not written."
          "AGENT_KEY";
    };
  };
  members =
    what:
    optional (types.attrsOf types.anything)
      "Members of ${what}. Those of an existing file stay beside them; lists are extended."
      { theme = "dark"; };

  hostsOrGit = rule: {
    assertion = (rule.hosts == [ ]) == (rule.git != null);
    message = "rules: a rule in parts has either `hosts` or `git`.";
  };

  # `"file:''${./token}"` has copied the secret where every user of the machine can read it.
  notInStore = variable: source: {
    assertion = !lib.hasPrefix "file:${builtins.storeDir}/" source;
    message = ''
      credentials.${variable}: ${source} is in the Nix store, which everybody can read. Name the file as a string
      ("file:/run/secrets/token"), not as a Nix path, and replace the secret: it has been copied to the store.'';
  };
in
{
  options = {
    name = mkOption {
      type = jailName;
      example = "claude";
      description = "The jail's name, and the name of the command that runs it.";
    };

    description = mkOption {
      type = types.singleLineStr;
      default = "";
      example = "Claude Code on this project";
      description = "One line for people.";
    };

    command = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = lib.literalExpression ''[ "claude" "--model" "opus" ]'';
      description = "The command and its first arguments; the words of the command line come after it.";
    };

    packages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      example = lib.literalExpression "[ pkgs.bashInteractive pkgs.coreutils pkgs.git ]";
      description = "What is in the jail: these packages on `PATH`, and of the Nix store exactly their runtime closure.";
    };

    shell = mkOption {
      type = types.nullOr types.package;
      default = null;
      example = lib.literalExpression "pkgs.mkShell { packages = [ pkgs.cargo ]; }";
      description = ''
        A dev shell whose inputs and variables are in the jail too. Its hooks do not run: `jail run --flake` is for
        shells that need them.
      '';
    };

    rules = mkOption {
      type = types.listOf (types.either types.str rule);
      default = [ ];
      example = lib.literalExpression ''
        [
          "GET,HEAD https://api.github.com/repos/**"
          { hosts = [ "api.anthropic.com" ]; credential = "ANTHROPIC_API_KEY"; }
          "git github.com/me/project push=agent/*"
          "@npm"
        ]
      '';
      description = ''
        What the job may do on the network, in order: the first rule that matches decides, none means no. As text
        (`[allow|deny] [METHOD,…] [https|http|wss|ws|tcp://]HOST[:PORT][/PATH]`, `git HOST/REPO [push=REF,…]`, `@npm` and
        other named sets of `jail rules`) or in parts.
      '';
    };

    credentials = mkOption {
      type = types.attrsOf credential;
      default = { };
      example = lib.literalExpression ''
        {
          GITHUB_TOKEN = {
            sources = [ "command:gh auth token" ];
            hosts = [ "api.github.com" ];
          };
        }
      '';
      description = "The secrets that the job uses without having them, by the variable that holds the dummy inside.";
    };

    gateways =
      listOf (types.attrsOf types.anything)
        "Other ways to the API of the agent's model, which the operator's environment chooses, for jobs that an operator starts. They replace what the jail's rules allow; what these deny stays denied. The fields are those of the program's specification: `when`, `servers`, `credentials`, `replaces`, `environment`, `passEnvironment` (`jail schema`)."
        [
          {
            when = [ "AGENT_BASE_URL" ];
            servers = [ "\${AGENT_BASE_URL}" ];
            passEnvironment = [ "AGENT_BASE_URL" ];
          }
        ];

    environment = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        EDITOR = "vi";
      };
      description = "Variables of the jail. They are in the Nix store for all to read: secrets belong to `credentials`.";
    };

    passEnvironment = mkOption {
      type = types.listOf variableName;
      default = [ ];
      apply = lib.unique;
      example = [ "GIT_AUTHOR_NAME" ];
      description = "Variables taken over from the operator's environment where they are set.";
    };

    workspaceMode = mkOption {
      type = types.enum [
        "ro"
        "rw"
        "overlay"
      ];
      default = "rw";
      example = "overlay";
      description = ''
        How the job sees its workspace: read-only, writable but for files that run later on the host, or writable on a
        layer of its own that is gone at the end.
      '';
    };

    protect =
      listOf types.str
        "Files of the workspace that run later on the host, read-only beside the built-in list; relative paths."
        [ "deploy.sh" ];

    home = mkOption {
      type = types.coercedTo homeKind (kind: { inherit kind; }) home;
      default = { };
      example = "persistent";
      description = "The job's home directory: its kind alone, or in parts.";
    };

    binds = mkOption {
      type = types.listOf (types.coercedTo types.str (source: { inherit source; }) bind);
      default = [ ];
      example = lib.literalExpression ''
        [
          "~/.gitconfig"
          { source = "/var/cache/models"; target = "/models"; }
        ]
      '';
      description = "Further files and directories of the host, as a path or in parts.";
    };

    limits = {
      memory = optional bytes "Memory." "4G";
      cpus = optional types.numbers.positive "CPUs' worth of time." 1.5;
      pids = optional types.ints.positive "Processes and threads." 512;
      timeout = optional span "Wall-clock time." "2h";
      disk =
        optional bytes
          "By how much the free space of the disks that the job writes to may shrink while it runs, whoever takes it; it may make a file for every 4096 bytes of that."
          "20G";
      io =
        optional bytes
          "Bytes per second to read, and as many to write, on the workspace's disk; services of systemd only."
          "20M";
      proxyMemory =
        optional bytes
          "Memory of the job's proxy beyond that of an idle one; 64M if nothing is said, 16M at least."
          "128M";
    };

    hardening.allow =
      listOf
        (types.enum [
          "writable-executable-memory"
          "nested-user-namespaces"
          "scheduling"
          "set-user-id-files"
        ])
        ''
          What the job may do that jobs usually may not: `nested-user-namespaces` is for sandboxes inside (Chromium,
          bubblewrap), `set-user-id-files` for files with such bits. Only services of systemd forbid the other two:
          `writable-executable-memory` is for just-in-time compilers (Node, Java), `scheduling` for priorities.
        ''
        [ "writable-executable-memory" ];

    upstream = {
      ca =
        listOf types.str
          "PEM files on the host, or directories of such files, whose certificates (of authorities or of single servers) are trusted beside the system's."
          [
            "/etc/ssl/company.pem"
          ];
      proxy =
        optional types.str
          "The proxy behind which the outside is: `http://[NAME:PASSWORD@]HOST:PORT` (special characters as `%XX`), `https://`, `socks5://` (names are resolved here), `socks5h://` (names are resolved there), or `none`. Without it the operator's `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` say so; they are the better place for a password, which would be readable in the store."
          "proxy.example.com:3128";
      noProxy =
        listOf types.str
          "Hosts with their sub-domains, addresses and networks that are reached without the proxy, as in `NO_PROXY`, which says so without this."
          [ "intranet.example.com" ];
      connectTo =
        listOf types.str
          "`HOST:PORT:ADDRESS:PORT`: this host and port is at that address, past resolver and address guard."
          [ "api.example.com:443:10.1.2.3:8443" ];
    };

    backend = mkOption {
      type = types.enum [
        "auto"
        "native"
        "systemd"
        "docker"
        "podman"
        "seatbelt"
      ];
      default = "auto";
      example = "native";
      description = "Who makes the jail: the platform's default, Linux namespaces of the operator's own user, the same in a unit of systemd, a container of Docker or Podman on this host, or Apple's sandbox.";
    };

    closure = {
      maxSize =
        optional bytes
          "The most that the closure may take up in the store; beyond it the jail does not build."
          "2G";
      forbid = mkOption {
        type = types.listOf types.package;
        default = [ ];
        example = lib.literalExpression "[ pkgs.gcc pkgs.openssh ]";
        description = "Packages without which the closure must do; with one of them in it the jail does not build.";
      };
    };

    service = {
      enable = lib.mkEnableOption "the jail as a service that starts by itself (NixOS: units of systemd; nix-darwin: an agent of the user)";
      workspace =
        optional types.str "The directory the service works in; none means no workspace."
          "/srv/project";
      user =
        optional userName
          "NixOS: whom it runs as, for whom the workspace's files are; none means a user that exists for it alone."
          "builder";
    };

    assertions = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
      internal = true;
      description = "What must hold of the other options; a message is the cure.";
    };
  };

  config = {
    # The one locale that needs no files, and what a terminal's programs ask for.
    environment.LANG = lib.mkDefault "C.UTF-8";
    passEnvironment = [
      "TERM"
      "COLORTERM"
      "NO_COLOR"
      "TZ"
    ];

    assertions =
      map hostsOrGit (lib.filter lib.isAttrs config.rules)
      ++ lib.concatLists (
        lib.mapAttrsToList (
          variable: credential: map (source: notInStore variable source) credential.sources
        ) config.credentials
      );
  };
}
