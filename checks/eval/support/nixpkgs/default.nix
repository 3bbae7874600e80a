# A nixpkgs of names: every package is a real derivation that nobody builds, so paths and string contexts are real.
# The lists hold what the modules under test and the module systems around them ask for.
{
  lib ? import <nixpkgs/lib>,
  # Where `path` points: NixOS looks for itself there.
  nixos ? null,
  system ? "x86_64-linux",
  config ? { },
}:
let
  platform = lib.systems.elaborate system;

  derive =
    name: attributes:
    let
      made = derivation (
        {
          name = lib.strings.sanitizeDerivationName name;
          inherit system;
          builder = "/bin/sh";
        }
        // removeAttrs attributes [
          "meta"
          "passthru"
        ]
      );
      self =
        made
        // {
          pname = name;
          version = "1";
          meta = {
            mainProgram = name;
            priority = 5;
          }
          // attributes.meta or { };
          # NixOS' own modules take packages apart.
          out = self;
          bin = self;
          lib = self;
          man = self;
          doc = self;
          kmodTools = self;
          lastlog = self;
          passthru = { };
          interfaceVersion = 2;
          shellPath = "/bin/${name}";
          override = _: self;
          overrideAttrs = _: self;
          inputDerivation = derive "input-${name}" { };
        }
        // attributes.passthru or { };
    in
    self;
  package = name: derive name { };
  text = name: text: derive name { passthru = { inherit text; }; };

  agents = [
    "claude-code"
    "codex"
    "gemini-cli"
    "github-copilot-cli"
    "opencode"
    "pi-coding-agent"
    "qwen-code"
  ];
  ours = [
    "cargo"
    "cargo-deny"
    "cargo-nextest"
    "clippy"
    "curl"
    "deadnix"
    "diffutils"
    "file"
    "gawk"
    "gcc"
    "git"
    "gnupatch"
    "hello"
    "mdbook"
    "ncurses"
    "nix-jail"
    "nixfmt"
    "nixfmt-tree"
    "nodejs"
    "ripgrep"
    "rust-analyzer"
    "rustc"
    "rustfmt"
    "shellcheck"
    "unzip"
    "which"
    "xz"
    "zip"
  ];
  nixosOwn = [
    "acl"
    "attr"
    "bash"
    "bashInteractive"
    "bcache-tools"
    "bzip2"
    "cacert"
    "coreutils"
    "coreutils-full"
    "cpio"
    "dbus"
    "dbus-broker"
    "dhcpcd"
    "dosfstools"
    "e2fsprogs"
    "findutils"
    "fish"
    "fontconfig"
    "fuse"
    "fuse3"
    "getconf"
    "getent"
    "glibc"
    "glibcLocales"
    "gnugrep"
    "gnused"
    "gnutar"
    "gzip"
    "hicolor-icon-theme"
    "host"
    "hostname"
    "hwdata"
    "iproute2"
    "iptables"
    "iputils"
    "kbd"
    "kexec-tools"
    "kmod"
    "less"
    "libcap"
    "logrotate"
    "lvm2"
    "man-db"
    "mkpasswd"
    "nano"
    "netcat"
    "nettools"
    "nftables"
    "nix"
    "nix-bash-completions"
    "nix-info"
    "nix-zsh-completions"
    "nixos-build-vms"
    "nixos-container"
    "nixos-enter"
    "nixos-firewall-tool"
    "nixos-install"
    "nixos-option"
    "nixos-rebuild"
    "nixos-rebuild-ng"
    "openresolv"
    "openssh"
    "pam"
    "perl"
    "polkit"
    "procps"
    "python3"
    "rsync"
    "shadow"
    "shared-mime-info"
    "sound-theme-freedesktop"
    "strace"
    "su"
    "sudo"
    "systemd"
    "texinfoInteractive"
    "time"
    "tzdata"
    "udev"
    "util-linux"
    "xonsh"
    "zsh"
    "zstd"
  ];

  agent =
    name:
    # What nixpkgs does with a licence that nobody agreed to.
    if name != "claude-code" || (config.allowUnfreePredicate or (_: false)) (package name) then
      package name
    else
      throw "claude-code has an unfree license";

  pkgs =
    lib.genAttrs agents agent
    // lib.genAttrs (ours ++ nixosOwn) package
    // {
      # NixOS' modules ask it what it was built with.
      systemd =
        package "systemd"
        // lib.genAttrs [
          "withBootloader"
          "withCryptsetup"
          "withEfi"
          "withFido2"
          "withHostnamed"
          "withImportd"
          "withLocaled"
          "withLogind"
          "withMachined"
          "withNspawn"
          "withPortabled"
          "withRepart"
          "withSysupdate"
          "withTimedated"
          "withTpm2Units"
          "withUtmp"
        ] (_: true);

      inherit config lib system;
      _type = "pkgs";
      __splicedPackages = pkgs;
      appendOverlays = _: pkgs;
      extend = _: pkgs;
      path = nixos;
      overlays = [ ];
      runtimeShell = "${pkgs.bash}/bin/bash";

      stdenv = {
        hostPlatform = platform;
        buildPlatform = platform;
        targetPlatform = platform;
        inherit (platform)
          isAarch64
          isDarwin
          isLinux
          isx86_32
          isx86_64
          is64bit
          ;
        hasCC = true;
        cc = package "cc-wrapper" // {
          libc = package "libc";
        };
        initialPath = [ pkgs.coreutils ];
        shell = "/bin/sh";
      };

      closureInfo = { rootPaths }: derive "closure-info" { inherit rootPaths; };
      runCommand =
        name: attributes: script:
        derive name (attributes // { inherit script; });
      runCommandLocal = pkgs.runCommand;
      mkShell =
        attributes:
        derive "nix-shell" (
          removeAttrs attributes [ "packages" ]
          // {
            nativeBuildInputs = attributes.packages or [ ];
            passthru = {
              nativeBuildInputs = attributes.packages or [ ];
              inherit (pkgs) stdenv;
            };
          }
        );

      writeText = text;
      writeScript = text;
      writeShellScript = text;
      writeShellScriptBin = text;
      writeTextDir = name: text (baseNameOf name);
      writeTextFile = arguments: text arguments.name (arguments.text or "");
      buildEnv = arguments: package arguments.name;
      symlinkJoin = arguments: package arguments.name;
      linkFarm = name: _: package name;
      testers = {
        testBuildFailure = failing: derive "failure" { inherit failing; };
        runNixOSTest =
          file:
          let
            test = import file { inherit lib; };
          in
          derive "vm-test-${test.name}" { inherit (test) testScript; };
      };
      callPackage = _: _: derive "called" { passthru.tests = { }; };
      pkgsStatic = pkgs;
      substituteAll = arguments: package (arguments.name or "substituted");
      replaceVars = _: _: package "replaced";
      replaceVarsWith = arguments: package (arguments.name or "replaced");
      formats =
        lib.genAttrs
          [
            "ini"
            "iniWithGlobalSection"
            "json"
            "keyValue"
            "systemd"
            "toml"
            "yaml"
          ]
          (
            _: _: {
              type = lib.types.attrsOf lib.types.anything;
              generate = name: _: package name;
            }
          );

      linuxPackages = {
        kernel = package "linux" // {
          config = { };
          features = { };
          buildDTBs = false;
          kernelAtLeast = _: true;
        };
        kernelAtLeast = _: true;
        extend = _: pkgs.linuxPackages;
      };
      linuxPackagesFor = _: pkgs.linuxPackages;
      buildPackages = pkgs;
      pkgsi686Linux = pkgs;
    };
in
pkgs
