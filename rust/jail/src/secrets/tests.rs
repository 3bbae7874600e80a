use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use secrecy::ExposeSecret;

use super::*;

/// An operator with a home of its own and no variables.
fn context(home: &Path) -> Context {
    Context {
        environment: HashMap::new(),
        home: home.to_owned(),
        user: "somebody".to_owned(),
        insecure_files: false,
        time_limit: Duration::from_secs(10),
        programs: programs_without_variables(home),
    }
}

fn nowhere() -> Context {
    context(Path::new("/nonexistent"))
}

fn read_texts(sources: &[&str], context: &Context) -> Result<Found, SecretError> {
    let sources: Vec<Source> = sources.iter().map(|source| source.parse().unwrap()).collect();
    read_first("TOKEN", &sources, context)
}

fn secret(sources: &[&str], context: &Context) -> String {
    read_texts(sources, context).unwrap().secret.expose_secret().to_owned()
}

fn error(sources: &[&str], context: &Context) -> String {
    read_texts(sources, context).unwrap_err().to_string()
}

/// Returns a pipe without a writer: `read line <PIPE` in a shell never returns.
fn fifo(folder: &Path) -> PathBuf {
    let path = folder.join("never");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    path
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn sources_are_read_and_written_alike() {
    for text in [
        "env:TOKEN",
        "env:LOGIN#/a/b~1c",
        "file:/run/secrets/token",
        "file:~/.config/login.json#/tokens/access",
        "command:op read op://vault/item/field",
        "command:security find-generic-password -w -s 'Some Service'#/a",
        r##"command:["fetch","https://host/#/page"]"##,
        r##"command:["fetch","https://host/#/page"]#/a"##,
        "keyring:service",
        "keyring:a/service/account",
        "keyring:Some Service#/login/token",
        "systemd:token",
    ] {
        let source: Source = text.parse().unwrap();
        assert_eq!(source.to_string(), text);
        assert_eq!(serde_json::from_value::<Source>(serde_json::to_value(&source).unwrap()).unwrap(), source);
    }
    let SecretLocation::Command(argv) = r#"command: "a b"  'c d'  e\ f"#.parse::<Source>().unwrap().place
    else {
        panic!()
    };
    assert_eq!(argv, ["a b", "c d", "e f"]);
    let SecretLocation::Command(argv) = r#"command: ["a", "$(b)"]"#.parse::<Source>().unwrap().place else {
        panic!()
    };
    assert_eq!(argv, ["a", "$(b)"]);
}

#[test]
fn texts_that_are_no_sources_are_errors() {
    for text in [
        "",
        "token",
        "env",
        "env:",
        "env:$TOKEN",
        "env:A=B",
        "file:",
        "file:relative/path",
        "file:~",
        "command:",
        "command:  ",
        "command:'open",
        "command:[1]",
        "command:[]",
        r#"command:["a"] b"#,
        r#"command:["a"]#b"#,
        "keyring:",
        "keyring:/account",
        "keyring:service/",
        "systemd:",
        "systemd:../x",
        "systemd:..",
        "vault:x",
        "ENV:X",
    ] {
        assert!(text.parse::<Source>().is_err(), "{text:?} was accepted");
    }
}

#[test]
fn a_pasted_token_is_not_repeated_in_the_error() {
    for text in ["sk-ant-api03-whatever", "sk:whatever"] {
        let error = text.parse::<Source>().unwrap_err().to_string();
        assert!(!error.contains("whatever") && error.contains("env:VAR"), "{error}");
    }
}

#[test]
fn the_first_source_that_exists_wins() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("token"), "from-the-file\n", 0o600);
    let mut context = context(folder.path());
    let sources =
        ["env:TOKEN", "systemd:token", "command:/nonexistent/op read x", "file:~/token", "env:LATER"];
    let found = read_texts(&sources, &context).unwrap();
    assert_eq!(
        (found.secret.expose_secret(), found.source.to_string()),
        ("from-the-file", "file:~/token".to_owned())
    );

    context.environment.insert("TOKEN".into(), "".into());
    context.environment.insert("LATER".into(), "from-later".into());
    assert_eq!(secret(&sources, &context), "from-the-file");
    context.environment.insert("TOKEN".into(), "from-the-variable".into());
    assert_eq!(secret(&sources, &context), "from-the-variable");
}

#[test]
fn none_at_all_says_where_it_looked_and_what_to_do() {
    let result = read_texts(&["env:TOKEN", "file:/nonexistent/a", "systemd:x"], &nowhere()).unwrap_err();
    assert!(result.is_missing());
    let error = result.to_string();
    for part in [
        "TOKEN",
        "env:TOKEN: not set",
        "file:/nonexistent/a: ",
        "does not exist",
        "systemd:x: ",
        "--credential",
    ] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn a_broken_source_is_an_error_and_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = context(folder.path());
    context.environment.insert("NEXT".into(), "from-the-next".into());
    for (text, expected) in [
        ("", "empty"),
        ("\n", "empty"),
        ("abc\n", "only 3 characters"),
        ("first-line\nsecond-line\n", "several lines"),
        ("carriage\rreturn", "several lines"),
        ("nul\0byte-in-it", "no HTTP header"),
        ("umlaut-ä-in-it", "no HTTP header"),
        (" space-in-front", "a space"),
        (r#"{"token":"inside-of-json"}"#, "add the pointer"),
    ] {
        write(&folder.path().join("token"), text, 0o600);
        let error = error(&["file:~/token", "env:NEXT"], &context);
        assert!(error.contains(expected) && error.contains("file:~/token"), "{text:?}: {error}");
        for leak in ["first-line", "in-front", "byte-in-it", "inside-of-json"] {
            assert!(!error.contains(leak), "{error}");
        }
    }
}

#[test]
fn a_pointer_names_the_secret_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let login =
        r#"{"login":{"access":"the-access-token","expires":17,"none":null},"list":["zero","the-first"]}"#;
    write(&folder.path().join("login"), login, 0o600);
    assert_eq!(secret(&["file:~/login#/login/access"], &context), "the-access-token");
    assert_eq!(secret(&["file:~/login#/list/1"], &context), "the-first");
    for (pointer, expected) in [
        ("/login/wrong", "/login/access"),
        ("/login/none", "nothing at"),
        ("/login/expires", "no string at"),
        ("/login", "no string at"),
        ("/login/access/x", "nothing at"),
    ] {
        let error = error(&[&format!("file:~/login#{pointer}")], &context);
        assert!(error.contains(expected) && !error.contains("the-access-token"), "{error}");
    }
    write(&folder.path().join("login"), "a-bare-token", 0o600);
    let error = error(&["file:~/login#/a"], &context);
    assert!(error.contains("not JSON") && !error.contains("bare"), "{error}");
}

#[test]
fn files_that_others_can_read_are_refused_until_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = context(folder.path());
    let path = folder.path().join("token");
    for mode in [0o644, 0o640, 0o604, 0o620, 0o666] {
        write(&path, "the-secret", mode);
        context.insecure_files = false;
        let error = error(&["file:~/token"], &context);
        assert!(error.contains("chmod 600") && error.contains("--insecure-file"), "{error}");
        context.insecure_files = true;
        assert_eq!(secret(&["file:~/token"], &context), "the-secret");
    }
}

#[test]
fn links_are_followed_and_the_file_behind_them_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    std::os::unix::fs::symlink("generation/token", folder.path().join("token")).unwrap();
    assert!(read_texts(&["file:~/token"], &context).unwrap_err().is_missing());
    std::fs::create_dir(folder.path().join("generation")).unwrap();
    write(&folder.path().join("generation/token"), "the-secret\r\n", 0o400);
    assert_eq!(secret(&["file:~/token"], &context), "the-secret");
    std::fs::remove_file(folder.path().join("generation/token")).unwrap();
    write(&folder.path().join("generation/token"), "the-secret", 0o644);
    assert!(error(&["file:~/token"], &context).contains("mode 644"));
}

#[test]
fn what_is_no_file_or_too_big_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    assert!(error(&["file:~/"], &context).contains("not a regular file"));
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    assert!(error(&["file:~/pipe"], &context).contains("not a regular file"));
    write(&folder.path().join("big"), &"x".repeat(MAX_SOURCE_BYTES + 1), 0o600);
    assert!(error(&["file:~/big"], &context).contains("more than 64 KiB"));
}

#[test]
fn systemd_credentials_are_files_of_its_directory() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = nowhere();
    context.environment.insert("CREDENTIALS_DIRECTORY".into(), folder.path().into());
    // systemd makes them readable as it sees fit (0440 with its own directory around them).
    write(&folder.path().join("token"), r#"{"a":"from-systemd"}"#, 0o440);
    assert_eq!(secret(&["systemd:token#/a"], &context), "from-systemd");
    assert!(read_texts(&["systemd:other"], &context).unwrap_err().is_missing());
}

#[test]
fn a_command_is_run_without_a_shell() {
    let print = r#"["/bin/sh","-c","printf %s \"$1\"","sh","#;
    assert_eq!(secret(&[&format!(r#"command:{print}"the-$(secret)"]"#)], &nowhere()), "the-$(secret)");
    let json = format!(r#"command:{print}"{{\"a\":\"the-secret\"}}"]#/a"#);
    assert_eq!(secret(&[&json], &nowhere()), "the-secret");
    // What a password manager says while it works is no part of it.
    assert_eq!(
        secret(&["command:/bin/sh -c 'echo unlocking >&2; read line || echo the-secret'"], &nowhere()),
        "the-secret"
    );
}

#[test]
fn a_failing_command_says_what_it_said() {
    let error = error(
        &["command:/bin/sh -c 'echo one >&2; echo you are not signed in >&2; echo the-secret; exit 3'"],
        &nowhere(),
    );
    assert!(error.contains("code 3") && error.contains("you are not signed in"), "{error}");
    let told = error.split("`/bin/sh`").nth(1).unwrap();
    assert!(!told.contains("the-secret"), "{error}");
    let killed = self::error(&["command:/bin/sh -c 'kill -9 $$'"], &nowhere());
    assert!(killed.contains("signal 9"), "{killed}");
}

#[test]
fn a_command_that_never_ends_is_ended_with_its_helpers() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = context(folder.path());
    context.time_limit = Duration::from_millis(300);
    let started = Instant::now();
    let file = folder.path().join("pid");
    let never = fifo(folder.path());
    let script = format!("read line <{} & echo $! > {}; wait", never.display(), file.display());
    let source =
        Source { place: SecretLocation::Command(vec!["/bin/sh".into(), "-c".into(), script]), pointer: None };
    let error = read_first("TOKEN", &[source], &context).unwrap_err().to_string();
    assert!(error.contains("did not end within 0.3 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(60));
    // Its helper holds a pipe of ours, which closes with it.
    let helper = std::fs::read_to_string(file).unwrap();
    let gone =
        || !Path::new("/proc").join(helper.trim()).join("cwd").read_link().is_ok_and(|cwd| cwd.exists());
    let waited = Instant::now();
    while !gone() {
        assert!(waited.elapsed() < Duration::from_secs(60), "the helper is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_helper_that_stays_does_not_hold_up_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = nowhere();
    context.time_limit = Duration::from_secs(60);
    let never = fifo(folder.path());
    let script = format!("echo the-secret; exec 2>&1; read line <{} &", never.display());
    let command = serde_json::to_string(&["/bin/sh", "-c", &script]).unwrap();
    // The helper is there until the last line: this returns before its end, or not at all.
    assert_eq!(secret(&[&format!("command:{command}")], &context), "the-secret");
    drop(std::fs::OpenOptions::new().read(true).write(true).open(never).unwrap());
}

#[test]
fn a_command_that_prints_without_end_is_refused() {
    let error = error(&["command:/bin/sh -c 'while :; do echo y; done'"], &nowhere());
    assert!(error.contains("more than 64 KiB"), "{error}");
}

#[test]
fn nothing_of_a_found_secret_is_in_its_debug_form() {
    let mut context = nowhere();
    context.environment.insert("TOKEN".into(), "the-secret".into());
    let found = read_texts(&["env:TOKEN"], &context).unwrap();
    assert!(!format!("{found:?} {context:?}").contains("the-secret"));
}

/// Started by checks/secret-service.sh: with an unlocked keychain, a locked one, none, and a bus that never answers.
#[test]
#[ignore = "needs a session bus of its own: checks/secret-service.sh"]
fn a_real_secret_service() {
    let state = std::env::var("JAIL_TEST_KEYCHAIN").expect("run checks/secret-service.sh");
    let mut context = nowhere();
    context.time_limit = Duration::from_secs(5);
    let item = "keyring:nix-jail-check/somebody";
    let login = "keyring:nix-jail-login#/login/access";
    match &*state {
        "unlocked" => {
            assert!(read_texts(&[item], &context).unwrap_err().is_missing());
            store("nix-jail-check", "the-stored-secret");
            store("nix-jail-login", r#"{"login":{"access":"the-stored-token"}}"#);
            assert_eq!(secret(&[item], &context), "the-stored-secret");
            assert_eq!(secret(&[login], &context), "the-stored-token");
            assert!(error(&["keyring:nix-jail-login#/wrong"], &context).contains("/login/access"));
            assert!(keyring::probe(context.time_limit).is_ok());
        }
        "locked" => {
            let started = Instant::now();
            let error = error(&[item], &context);
            assert!(
                error.contains("locked") && error.contains("file:PATH") && error.contains("pass show"),
                "{error}"
            );
            assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        }
        "absent" => {
            let error = read_texts(&[item], &context).unwrap_err();
            assert!(error.is_missing() && error.to_string().contains("no keychain is running"), "{error}");
            assert!(keyring::probe(context.time_limit).is_err());
        }
        "silent" => {
            let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap();
            let _bus =
                std::os::unix::net::UnixListener::bind(address.strip_prefix("unix:path=").unwrap()).unwrap();
            context.time_limit = Duration::from_secs(1);
            let error = error(&[item], &context);
            assert!(error.contains("did not answer within 1 s") && error.contains("file:PATH"), "{error}");
        }
        state => panic!("JAIL_TEST_KEYCHAIN is {state:?}"),
    }
}

/// Stores an item as other programs do, not by the crate that reads it.
fn store(service: &str, value: &str) {
    use std::io::Write;
    let mut child = Command::new("secret-tool")
        .args(["store", "--label", service, "service", service, "username", "somebody"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
