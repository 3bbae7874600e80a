use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use super::*;

const DUMMY: &str = "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaaaaa-0nixjail0dummy0token";

fn values(dummies: &[(String, String)]) -> Values<'_> {
    Values { dummies, workspace: Some(Path::new("/home/me/project")) }
}

fn dummies() -> Vec<(String, String)> {
    vec![("API_KEY".to_owned(), DUMMY.to_owned())]
}

fn seed(value: Value) -> SeedSpec {
    serde_json::from_value(value).unwrap()
}

fn write_all(home: &Path, seeds: &[Value]) -> Vec<String> {
    let seeds: Vec<SeedSpec> = seeds.iter().cloned().map(seed).collect();
    write(&Tree::open(home).unwrap(), &seeds, values(&dummies())).unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn members_are_merged_into_what_a_job_has_written() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a/state.json");
    fs::create_dir(home.path().join("a")).unwrap();
    fs::write(&file, r#"{"own":1,"done":false,"approved":["x"],"theme":"light"}"#).unwrap();
    let forced = json!({
        "path": "a/state.json",
        "json": {
            "done": true,
            "approved": ["${dummyEnd:API_KEY}", "${dummy:OTHER}"],
            "projects": { "${workspace}": { "trusted": true } },
        },
    });
    let default =
        json!({ "path": "a/state.json", "json": { "theme": "dark", "new": 1 }, "onlyMissing": true });
    for _ in 0..2 {
        assert_eq!(write_all(home.path(), &[forced.clone(), default.clone()]), [""; 0]);
        let expected = json!({
            "own": 1, "done": true, "theme": "light", "new": 1,
            "approved": ["x", "0nixjail0dummy0token"],
            "projects": { "/home/me/project": { "trusted": true } },
        });
        assert_eq!(read(&file), expected);
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn toml_keeps_its_comments() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    fs::write(&file, "# mine\nmodel = \"own\"\n\n[projects.\"/other\"]\ntrust_level = \"untrusted\"\n")
        .unwrap();
    let spec = json!({
        "path": "config.toml",
        "toml": { "model": "theirs", "projects": { "${workspace}": { "trust_level": "trusted" } } },
        "onlyMissing": true,
    });
    write_all(home.path(), std::slice::from_ref(&spec));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# mine\nmodel = \"own\"\n"), "{text}");
    assert!(text.contains("[projects.\"/home/me/project\"]\ntrust_level = \"trusted\"\n"), "{text}");
    assert!(text.contains("[projects.\"/other\"]\ntrust_level = \"untrusted\"\n"), "{text}");
    fs::write(&file, "no TOML = = at all").unwrap();
    write_all(home.path(), &[spec]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.parse::<DocumentMut>().unwrap().contains_key("model"), "{text}");
}

#[test]
fn a_seed_of_a_credential_that_the_job_lacks_is_left_out() {
    let home = tempfile::tempdir().unwrap();
    let of = |name: &str| json!({ "path": format!("of-{name}"), "text": "x", "credential": name });
    let template = json!({ "path": "template", "text": "${dummy:OTHER}" });
    write_all(home.path(), &[of("API_KEY"), of("OTHER"), template]);
    assert!(home.path().join("of-API_KEY").exists());
    assert!(!home.path().join("of-OTHER").exists() && !home.path().join("template").exists());
}

#[test]
fn nothing_outside_of_the_home_is_read_or_written() {
    let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = outside.path().join("victim.json");
    fs::write(&victim, r#"{"secret":"outside"}"#).unwrap();
    symlink(outside.path(), home.path().join("directory")).unwrap();
    symlink(&victim, home.path().join("file.json")).unwrap();
    nix::unistd::mkfifo(&home.path().join("fifo.json"), Mode::S_IRWXU).unwrap();
    nix::unistd::mkfifo(&home.path().join("fifo"), Mode::S_IRWXU).unwrap();
    fs::create_dir(home.path().join("taken.json")).unwrap();
    let paths = ["directory/victim.json", "file.json", "fifo.json", "fifo/x.json", "taken.json"];
    let seeds = paths.map(|path| json!({ "path": path, "json": { "mine": true } }));
    let notices = write_all(home.path(), &seeds);
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("taken.json in the job's home stays as it is: it is a directory"));
    assert_eq!(fs::read_to_string(&victim).unwrap(), r#"{"secret":"outside"}"#);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    for path in &paths[..4] {
        assert_eq!(read(&home.path().join(path)), json!({ "mine": true }), "{path}");
        assert!(fs::symlink_metadata(home.path().join(path)).unwrap().is_file(), "{path}");
    }
}

#[test]
fn a_file_that_is_too_large_stays() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("state.json");
    fs::write(&file, vec![b' '; usize::try_from(LARGEST_FILE).unwrap() + 1]).unwrap();
    let notices = write_all(home.path(), &[json!({ "path": "state.json", "json": { "a": 1 } })]);
    assert!(notices[0].contains("too large"), "{notices:?}");
    assert_eq!(fs::metadata(&file).unwrap().len(), LARGEST_FILE + 1);
}
