use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use sandbox::plan::Entry;

use super::super::{HostTree, programs};
use super::*;
use crate::operator::Operator;

/// A home with version managers, and an operator without programs of the languages.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn operator(&self, variables: &[(&str, &str)], writable: &[&str]) -> Operator {
        let mut environment: HashMap<_, _> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        environment.entry("PATH".into()).or_insert_with(|| self.at("bin").into());
        let directory = self.at("work");
        let uid = nix::unistd::geteuid().as_raw();
        let operator = Operator { environment, directory, home: self.at(""), uid, writable: Vec::new() };
        operator.with_writable(writable.iter().map(|path| self.at(path)))
    }

    fn resolve(&self, language: Language) -> Result<HostTree, ResolveError> {
        programs(&[], &[language], &self.operator(&[], &["work"]))
    }

    /// The directory below the home that is in the jail and first on `PATH`.
    fn given(&self, language: Language, variables: &[(&str, &str)]) -> String {
        let tree = programs(&[], &[language], &self.operator(variables, &["work"])).unwrap();
        let programs = tree.path.first().unwrap().clone();
        let root = programs.parent().unwrap();
        let is_bound = tree.entries.iter().any(|entry| {
            matches!(entry, Entry::Bind { target, access: sandbox::plan::Access::ReadOnly, .. } if target == root)
        });
        assert!(is_bound, "{} is not in {:?}", root.display(), tree.entries);
        root.strip_prefix(self.at("")).unwrap().to_str().unwrap().to_owned()
    }
}

#[test]
fn each_manager_gives_its_default_version() {
    for (language, files, link, expected) in [
        (
            Language::Rust,
            &[
                (".rustup/settings.toml", "default_toolchain = \"1.90-x\"\nversion = \"12\"\n"),
                (".rustup/toolchains/1.90-x/bin/cargo", ""),
                (".rustup/toolchains/stable-x/bin/cargo", ""),
            ][..],
            None,
            ".rustup/toolchains/1.90-x",
        ),
        (
            Language::Node,
            &[
                (".nvm/alias/default", "20\n"),
                (".nvm/versions/node/v20.9.0/bin/node", ""),
                (".nvm/versions/node/v20.10.0/bin/node", ""),
                (".nvm/versions/node/v22.1.0/bin/node", ""),
            ],
            None,
            ".nvm/versions/node/v20.10.0",
        ),
        (
            Language::Node,
            &[
                (".local/share/fnm/node-versions/v18.0.0/installation/bin/node", ""),
                (".local/share/fnm/node-versions/v20.0.0/installation/bin/node", ""),
            ],
            Some((".local/share/fnm/aliases/default", "../node-versions/v18.0.0/installation")),
            ".local/share/fnm/node-versions/v18.0.0/installation",
        ),
        (
            Language::Node,
            &[
                (".volta/tools/user/platform.json", r#"{"node":{"runtime":"20.1.0","npm":null}}"#),
                (".volta/tools/image/node/20.1.0/bin/node", ""),
                (".volta/tools/image/node/22.1.0/bin/node", ""),
            ],
            None,
            ".volta/tools/image/node/20.1.0",
        ),
        (
            Language::Python,
            &[
                (".pyenv/version", "3.11.7\n"),
                (".pyenv/versions/3.11.7/bin/python3", ""),
                (".pyenv/versions/3.13.0/bin/python3", ""),
            ],
            None,
            ".pyenv/versions/3.11.7",
        ),
        (
            Language::Python,
            &[
                (".local/share/uv/python/cpython-3.9.1-linux/bin/python3", ""),
                (".local/share/uv/python/cpython-3.12.1-linux/bin/python3", ""),
            ],
            None,
            ".local/share/uv/python/cpython-3.12.1-linux",
        ),
        (
            Language::Go,
            &[(".goenv/version", "1.25.0\n"), (".goenv/versions/1.25.0/bin/go", "")],
            None,
            ".goenv/versions/1.25.0",
        ),
        (
            Language::Java,
            &[
                (".sdkman/candidates/java/21.0.1-x/bin/java", ""),
                (".sdkman/candidates/java/25.0.1-x/bin/java", ""),
            ],
            Some((".sdkman/candidates/java/current", "21.0.1-x")),
            ".sdkman/candidates/java/21.0.1-x",
        ),
    ] {
        let home = Home::new();
        files.iter().for_each(|(path, text)| home.write(path, text));
        if let Some((path, to)) = link {
            fs::create_dir_all(home.at(path).parent().unwrap()).unwrap();
            symlink(to, home.at(path)).unwrap();
        }
        assert_eq!(home.given(language, &[]), expected);
    }
}

#[test]
fn the_operator_s_variable_wins_and_files_of_the_workspace_have_no_say() {
    let home = Home::new();
    home.write(".pyenv/version", "3.11.7\n");
    home.write(".pyenv/versions/3.11.7/bin/python3", "");
    home.write(".pyenv/versions/3.13.0/bin/python3", "");
    home.write("work/.python-version", "3.13.0\n");
    assert_eq!(home.given(Language::Python, &[]), ".pyenv/versions/3.11.7");
    assert_eq!(home.given(Language::Python, &[("PYENV_VERSION", "3.13.0")]), ".pyenv/versions/3.13.0");
    // A version is one of those that are there, never a path.
    home.write(".pyenv/version", "../../work\n");
    home.write("work/bin/python3", "");
    assert!(matches!(home.resolve(Language::Python), Err(ResolveError::NotFound { .. })));
}

#[test]
fn nothing_is_taken_from_where_jobs_can_write() {
    let home = Home::new();
    home.write("work/python/bin/python3", "");
    home.write(".pyenv/version", "mine\n");
    fs::create_dir_all(home.at(".pyenv/versions")).unwrap();
    symlink("../../work/python", home.at(".pyenv/versions/mine")).unwrap();
    assert!(matches!(home.resolve(Language::Python), Err(ResolveError::JobChosen { .. })));
    // A manager in a place of jobs: they choose its version.
    let home = Home::new();
    home.write(".pyenv/version", "3.11.7\n");
    home.write(".pyenv/versions/3.11.7/bin/python3", "");
    let operator = home.operator(&[], &[".pyenv"]);
    let refused = programs(&[], &[Language::Python], &operator);
    assert!(matches!(refused, Err(ResolveError::JobChosen { .. })));
    // A job had it as its workspace, and ended.
    written::remember(&operator).unwrap();
    assert!(matches!(home.resolve(Language::Python), Err(ResolveError::JobChosen { .. })));
}

#[test]
fn tokens_in_settings_of_a_toolchain_are_not_in_the_jail() {
    let home = Home::new();
    home.write(".nvm/alias/default", "20");
    home.write(".nvm/versions/node/v20.1.0/bin/node", "");
    home.write(".nvm/versions/node/v20.1.0/etc/npmrc", "//registry.example/:_authToken=x");
    let tree = home.resolve(Language::Node).unwrap();
    let settings = home.at(".nvm/versions/node/v20.1.0/etc/npmrc");
    let is_over = |entry: &Entry| matches!(entry, Entry::File { target, contents, .. } if *target == settings && contents.is_empty());
    assert!(tree.entries.iter().any(is_over), "{:?}", tree.entries);
}

#[test]
fn without_a_manager_it_is_the_one_on_path_or_an_error_that_names_them() {
    let home = Home::new();
    let error = home.resolve(Language::Node).unwrap_err().to_string();
    assert!(error.contains("nvm, fnm, Volta, nodenv"), "{error}");
    let of_path = home.operator(&[("PATH", "/usr/bin:/bin")], &["work"]);
    match programs(&[], &[Language::Python], &of_path) {
        Ok(tree) => assert!(tree.has_program(Path::new("python3"))),
        Err(error) => assert!(error.to_string().contains("pyenv, uv"), "{error}"),
    }
}
