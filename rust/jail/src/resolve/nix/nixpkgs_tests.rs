use super::*;
use std::collections::HashMap;

fn operator(home: &Path, variables: &[(&str, &str)]) -> Operator {
    let environment: HashMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Operator {
        environment,
        directory: home.to_owned(),
        home: home.to_owned(),
        uid: 1000,
        writable: Vec::new(),
    }
}

fn nixpkgs(directory: &Path) -> PathBuf {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("default.nix"), "{ }").unwrap();
    directory.canonicalize().unwrap()
}

#[test]
fn the_option_comes_before_the_wrapper_and_that_before_the_search_path() {
    let home = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| nixpkgs(&home.path().join(name)));
    let (wrapper, path) = (b.display().to_string(), format!("other=/x:nixpkgs={}", c.display()));
    let find = |option, variables: &[_]| Nixpkgs::find(option, &operator(home.path(), variables)).unwrap();
    let both = [("JAIL_NIXPKGS", wrapper.as_str()), ("NIX_PATH", path.as_str())];
    assert_eq!(find(Some("./a"), &both), Nixpkgs::Directory(a.clone()));
    assert_eq!(find(Some("~/a"), &both), Nixpkgs::Directory(a));
    assert_eq!(find(None, &both), Nixpkgs::Directory(b));
    assert_eq!(find(None, &both[1..]), Nixpkgs::Directory(c));
    assert_eq!(find(None, &[("NIX_PATH", "")]), Nixpkgs::Registry);
}

#[test]
fn a_search_path_is_read_as_nix_reads_it() {
    let home = tempfile::tempdir().unwrap();
    let inner = nixpkgs(&home.path().join("channels/nixpkgs"));
    let find = |path: &str| search_path(path, &operator(home.path(), &[]));
    let channels = home.path().join("channels").display().to_string();
    assert_eq!(find(&format!("/nonexistent:{channels}")), Some(Nixpkgs::Directory(inner)));
    let flake = Some(Nixpkgs::Flake("nixpkgs".into()));
    assert_eq!(find(&format!("nixpkgs=flake:nixpkgs:{channels}")), flake);
    let address = "https://example.com/nixpkgs.tar.gz";
    assert_eq!(find(&format!("x=/y:nixpkgs={address}:{channels}")), Some(Nixpkgs::Searched(address.into())));
    assert_eq!(find("nixpkgs=channel:unstable"), Some(Nixpkgs::Searched("channel:unstable".into())));
    assert_eq!(find("nixpkgs=flake:--option"), None);
    assert_eq!(find("x=/y::"), None);
}

#[test]
fn what_is_no_nixpkgs_is_refused() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("empty")).unwrap();
    let find = |text| Nixpkgs::find(Some(text), &operator(home.path(), &[]));
    assert!(find("./empty").unwrap_err().to_string().contains("no default.nix"));
    assert!(matches!(find("/nonexistent"), Err(NixError::NotNixpkgs { .. })));
    for text in ["", "--option", "a b", "nixpkgs#hello", "a\nb", "$(x)"] {
        assert!(matches!(find(text), Err(NixError::Reference { .. })), "{text:?}");
    }
    assert_eq!(
        find("github:NixOS/nixpkgs/nixos-unstable").unwrap(),
        Nixpkgs::Flake("github:NixOS/nixpkgs/nixos-unstable".into())
    );
    assert_eq!(find("nixpkgs/nixos-unstable").unwrap(), Nixpkgs::Flake("nixpkgs/nixos-unstable".into()));
}
