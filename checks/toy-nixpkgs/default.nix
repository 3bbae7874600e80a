# A nixpkgs in small, for checks without network: real derivations over a static busybox and bash.
# They are taken from ./static where that is (a flake sees nothing else), and from Debian's busybox-static and
# bash-static where it is not.
{
  system ? builtins.currentSystem,
  config ? { },
  overlays ? [ ],
}:
let
  programs = [
    "bash-static"
    "busybox"
  ];
  # A directory, because busybox goes by the name it is called by.
  static = builtins.path {
    name = "static";
    path = if builtins.pathExists ./static then ./static else /usr/bin;
    filter = path: _: builtins.elem (baseNameOf path) programs;
  };

  derive =
    arguments:
    derivation (
      {
        inherit system;
        builder = "${static}/bash-static";
        args = [
          "-euc"
          "PATH=$tools; source \"$scriptPath\""
        ];
        passAsFile = [ "script" ];
        tools = applets;
      }
      // arguments
    );

  # What the builders call; no package refers to it.
  applets = derivation {
    inherit system;
    name = "applets";
    builder = "${static}/busybox";
    args = [
      "sh"
      "-euc"
      "${static}/busybox mkdir $out; ${static}/busybox --install -s $out"
    ];
  };

  package =
    arguments:
    let
      made = derive arguments;
      outputs = arguments.outputs or [ "out" ];
    in
    made
    // {
      meta = {
        description = arguments.name;
        mainProgram = arguments.name;
        outputsToInstall =
          if builtins.elem "bin" outputs then
            builtins.filter (output: output != "out") outputs
          else
            [ "out" ];
      };
    };

  packages = {
    bash = package {
      name = "bash";
      script = ''
        mkdir -p $out/bin
        cp ${static}/bash-static $out/bin/bash
        ln -s bash $out/bin/sh
      '';
    };

    busybox = package {
      name = "busybox";
      script = ''
        mkdir -p $out/bin
        cp ${static}/busybox $out/bin/busybox
        for applet in $($out/bin/busybox --list); do
          [ "$applet" = busybox ] || ln -s busybox "$out/bin/$applet"
        done
      '';
    };

    # Store paths that are not directories: a file, and a link to it.
    greeting = package {
      name = "greeting";
      script = "echo hello from the store > $out";
    };
    greeting-link = package {
      name = "greeting-link";
      script = "ln -s ${packages.greeting} $out";
    };

    hello = package {
      name = "hello";
      script = ''
        mkdir -p $out/bin
        printf '#!%s\nread -r line < %s\necho "$line"\n' ${packages.bash}/bin/bash ${packages.greeting-link} > $out/bin/hello
        chmod +x $out/bin/hello
      '';
    };

    # In nobody's closure.
    stranger = package {
      name = "stranger";
      script = "mkdir $out; echo not for every jail > $out/secret";
    };

    # Its programs are in an output of their own, and need neither of the others.
    split = package {
      name = "split";
      outputs = [
        "out"
        "bin"
        "doc"
      ];
      script = ''
        mkdir -p $out/lib $bin/bin $doc
        printf '#!%s\necho split\n' ${packages.bash}/bin/bash > $bin/bin/split-tool
        chmod +x $bin/bin/split-tool
      '';
    };

    fails = package {
      name = "fails";
      script = ''
        echo the compiler does not like line 7 >&2
        exit 3
      '';
    };

    tools = {
      hello = packages.hello;
      version = "a text, not a package";
    };

    # Nix asks for a builder named `bash`. A mark in /tmp is outside of every workspace.
    shell = package {
      name = "toy-shell";
      builder = "${packages.bash}/bin/bash";
      outputs = [ "out" ];
      args = [
        "-euc"
        "echo shell > $out"
      ];
      script = "";
      # What stdenv's own shells do: the path is made of the inputs.
      stdenv = builtins.path { path = ./stdenv; };
      inputs = [
        packages.bash
        packages.busybox
        packages.hello
      ];
      TOY_GREETING = "good 'morning' \"$HOME\"";
      TMPDIR = "/build-of-the-shell";
      HTTPS_PROXY = "http://somewhere.else.example:1";
      shellHook = ''
        echo "$TOY_GREETING" > /tmp/nix-jail-hook-mark
        export FROM_HOOK="$(toy_function)"
      '';
    };
  };
in
packages
