# What the options accept, and what they refuse.
{
  jail,
  lib,
  nix-jail,
  pkgs,
  refused,
  ...
}:
let
  spec = settings: (jail ({ name = "x"; } // settings)).spec;

  # The jail is looked at as far as its derivation.
  isRefused = settings: {
    expr = refused (jail ({ name = "x"; } // settings)).drvPath;
    expected = true;
  };
  isAccepted = settings: {
    expr = refused (jail ({ name = "x"; } // settings)).drvPath;
    expected = false;
  };
  token = sources: {
    credentials.TOKEN = {
      inherit sources;
      hosts = [ "api.example.com" ];
    };
  };
  extended = (jail { name = "x"; }).extendModules { modules = [ { home = "persistent"; } ]; };
in
{
  testNothingIsAccepted = isAccepted { };
  testSourcesAreAccepted = isAccepted (token [
    "env:TOKEN"
    "file:/run/secrets/token"
    "file:~/token#/access"
    "keyring:service/account"
    "systemd:token"
    "command:${pkgs.hello}/bin/hello"
  ]);
  testNumbersOfBytes = {
    expr = (spec { limits.memory = 1024; }).limits.memory;
    expected = "1024";
  };

  testSecretInTheStore = isRefused (token [ "file:${./options.nix}" ]);
  testSecretItself = isRefused (token [ "sk-ant-api03-not-a-source" ]);
  testNoSource = isRefused (token [ ]);
  testUnknownOption = isRefused { rule = [ "example.com" ]; };
  testUnknownFieldOfARule = isRefused {
    rules = [
      {
        hosts = [ "example.com" ];
        method = "GET";
      }
    ];
  };
  testRuleWithoutHosts = isRefused { rules = [ { hosts = [ ]; } ]; };
  testRuleWithHostsAndGit = isRefused {
    rules = [
      {
        hosts = [ "example.com" ];
        git.repos = [ "example.com/x" ];
      }
    ];
  };
  testRuleOfGit = isAccepted { rules = [ { git.repos = [ "example.com/x" ]; } ]; };
  testGitWithoutRepositories = isRefused { rules = [ { git.repos = [ ]; } ]; };
  testUnknownScheme = isRefused {
    rules = [
      {
        hosts = [ "example.com" ];
        scheme = "ftp";
      }
    ];
  };
  testNameIsAFileName = isRefused { name = "../x"; };
  testVariableName = isRefused { passEnvironment = [ "A=B" ]; };
  testMemory = isRefused { limits.memory = "4 GB"; };
  testTimeout = isRefused { limits.timeout = "1w"; };
  testNoCpus = isRefused { limits.cpus = 0; };
  testBackend = isRefused { backend = "none"; };
  testServiceOfAPackage = isRefused { service.enable = true; };
  testHomeKind = isRefused { home = "kept"; };
  testSeedWithoutPath = isRefused { home.seed = [ { text = "x"; } ]; };
  testModuleOfAnotherClass = isRefused { _class = "nixos"; };

  testExtendModules = {
    expr = [
      extended.spec.home
      (extended.extendModules { modules = [ { workspaceMode = "ro"; } ]; }).spec.workspaceMode
    ];
    expected = [
      "persistent"
      "ro"
    ];
  };

  # Both forms of a home can be mixed: the kind alone changes the kind alone.
  testHomeInParts = {
    expr =
      let
        inherit
          (jail {
            name = "x";
            imports = [
              {
                home = {
                  kind = lib.mkDefault "persistent";
                  import = [ ".config/agent.md" ];
                  seed = [
                    {
                      path = ".agent.json";
                      json.projects."\${workspace}".trusted = true;
                      onlyMissing = true;
                    }
                  ];
                };
              }
              { home = "ephemeral"; }
            ];
          })
          spec
          ;
      in
      spec.home;
    expected = {
      kind = "ephemeral";
      import = [ ".config/agent.md" ];
      seed = [
        {
          path = ".agent.json";
          json.projects."\${workspace}".trusted = true;
          onlyMissing = true;
        }
      ];
    };
  };

  # A user's rules come after those of the ready-made jail; a user's command takes the place of its command.
  testReadyMadeJailsAreChanged = {
    expr =
      let
        inherit
          (jail {
            imports = [ nix-jail.lib.jails.claude ];
            name = "mine";
            command = [ "claude-wrapped" ];
            rules = lib.mkAfter [ "example.com" ];
            credentials.ANTHROPIC_API_KEY.sources = [ "systemd:anthropic" ];
          })
          spec
          ;
      in
      [
        spec.name
        spec.command
        (lib.elem "api.anthropic.com" (lib.init spec.rules))
        (lib.last spec.rules)
        (lib.head spec.credentials)
      ];
    expected = [
      "mine"
      [ "claude-wrapped" ]
      true
      "example.com"
      {
        variable = "ANTHROPIC_API_KEY";
        sources = [ "systemd:anthropic" ];
        hosts = [ "api.anthropic.com" ];
        group = "claude";
      }
    ];
  };

  testMeta = {
    expr = {
      inherit
        (jail {
          name = "x";
          description = "An example";
        })
        name
        meta
        ;
    };
    expected = {
      name = "x";
      meta = {
        description = "An example";
        mainProgram = "x";
        priority = 5;
      };
    };
  };

  # What is forbidden is not built for that.
  testForbiddenIsNotAnInput = {
    expr = builtins.getContext (
      toString
        (jail {
          name = "x";
          closure.forbid = [ pkgs.gcc ];
        }).forbidden
    );
    expected = { };
  };

  testEveryOptionIsDescribed = {
    expr =
      let
        inherit
          (lib.evalModules {
            class = "nixJail";
            modules = [ ../../nix/jail/options.nix ];
          })
          options
          ;
        isPublic = option: !option.internal && option.visible && !lib.hasPrefix "_module" option.name;
      in
      map (option: option.name) (
        lib.filter (option: isPublic option && !(option ? description && option ? example)) (
          lib.optionAttrSetToDocList options
        )
      );
    expected = [ ];
  };
}
