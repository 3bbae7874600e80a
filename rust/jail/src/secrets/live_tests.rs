use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{SystemTime, UNIX_EPOCH};

use config::{Source as _, Turn as _};
use secrecy::SecretString;

use super::*;

const LOGIN: &str = r#"{"z":[1,2.5,null],"login":{"a":"the-access-token","r":"the-refresh-token","e":1700000000000,"s":["x"]},"b":"ü"}"#;

struct Place {
    folder: tempfile::TempDir,
    live: Live,
}

impl Place {
    fn with(text: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { live: live(folder.path(), "file:~/login"), folder };
        place.write(text);
        place
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("login")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
        std::fs::set_permissions(self.path(), Permissions::from_mode(0o600)).unwrap();
    }
}

fn live(home: &Path, place: &str) -> Live {
    let context = Context {
        environment: std::collections::HashMap::new(),
        home: home.to_owned(),
        user: "somebody".to_owned(),
        insecure_files: false,
        time_limit: Duration::from_secs(10),
        programs: crate::secrets::programs_without_variables(home),
    };
    let pointers = Pointers {
        token: "/login/a".to_owned(),
        refresh: "/login/r".to_owned(),
        expiry: Some("/login/e".to_owned()),
    };
    Live::new(format!("{place}#/login/a").parse().unwrap(), Some(pointers), context, home.join("locks"))
}

fn held(secret: &str, refresh: &str, seconds: u64) -> Held {
    Held {
        secret: secret.into(),
        refresh: Some(refresh.into()),
        expires: Some(UNIX_EPOCH + Duration::from_secs(seconds)),
    }
}

fn parts(held: &Held) -> (&str, Option<&str>, Option<SystemTime>) {
    (held.secret.expose_secret(), held.refresh.as_ref().map(|refresh| refresh.expose_secret()), held.expires)
}

#[test]
fn a_login_is_read_and_replaced_and_the_rest_stays() {
    let place = Place::with(LOGIN);
    let old = place.live.read().unwrap();
    assert_eq!(parts(&old), parts(&held("the-access-token", "the-refresh-token", 1_700_000_000)));
    let new = held("another-access-token", "another-refresh-token", 1_800_000_000);
    assert!(place.live.take_turn().unwrap().replace(&old, &new).unwrap());
    assert_eq!(parts(&place.live.read().unwrap()), parts(&new));

    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let text = std::fs::read_to_string(place.path()).unwrap();
    let expected = LOGIN
        .replace("the-access", "another-access")
        .replace("the-refresh", "another-refresh")
        .replace("1700000000000", "1800000000000");
    assert_eq!(json(&text), json(&expected));
    assert!(!text.contains('\n'));
    assert_eq!(place.path().metadata().unwrap().mode() & 0o7777, 0o600);
    // Nothing is left beside it but the locks.
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 2);
}

#[test]
fn seconds_stay_seconds_and_lines_stay_lines() {
    let place = Place::with(
        "{\n  \"login\": {\"a\": \"the-access-token\", \"r\": \"the-refresh-token\", \"e\": 1700000000}\n}\n",
    );
    let old = place.live.read().unwrap();
    assert_eq!(old.expires, Some(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    let new = held("another-access-token", "another-refresh-token", 1_800_000_000);
    assert!(place.live.take_turn().unwrap().replace(&old, &new).unwrap());
    let text = std::fs::read_to_string(place.path()).unwrap();
    assert!(text.contains("\"e\": 1800000000,\n") && text.lines().count() > 3, "{text}");
}

#[test]
fn a_login_with_the_spent_refresh_token_is_replaced_whatever_else_changed() {
    let place = Place::with(LOGIN);
    let old = place.live.read().unwrap();
    let mut turn = place.live.take_turn().unwrap();
    place.write(&LOGIN.replace("the-access", "other-access"));
    let new = held("another-access-token", "another-refresh-token", 1_800_000_000);
    assert!(turn.replace(&old, &new).unwrap());
    assert_eq!(parts(&place.live.read().unwrap()), parts(&new));
}

#[test]
fn another_login_that_came_meanwhile_stays() {
    let place = Place::with(LOGIN);
    let old = place.live.read().unwrap();
    let mut turn = place.live.take_turn().unwrap();
    let text = LOGIN.replace("the-refresh", "by-hand-refresh");
    place.write(&text);
    let new = held("another-access-token", "another-refresh-token", 1_800_000_000);
    assert!(!turn.replace(&old, &new).unwrap());
    assert_eq!(std::fs::read_to_string(place.path()).unwrap(), text);
    // Somebody has logged out.
    std::fs::remove_file(place.path()).unwrap();
    assert!(turn.replace(&old, &old).unwrap_err().contains("does not exist"));
    assert!(!place.path().exists());
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_spent() {
    let place = Place::with(LOGIN);
    std::fs::remove_file(place.path()).unwrap();
    let error = |live: &Live| live.take_turn().err().unwrap();
    assert!(error(&place.live).contains("directory must be writable"));
    // A link is followed to the directory that counts.
    symlink("/proc/self/status", place.path()).unwrap();
    assert!(error(&place.live).contains("cannot renew the login"));
}

#[test]
fn one_turn_at_a_time_by_whatever_path() {
    let place = Place::with(LOGIN);
    symlink(place.path(), place.folder.path().join("link")).unwrap();
    let other = live(place.folder.path(), "file:~/link");
    assert_eq!(place.live.identity(), other.identity());
    let turn = place.live.take_turn().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let turn = other.take_turn().unwrap();
        sender.send(()).unwrap();
        drop(turn);
    });
    assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err());
    drop(turn);
    receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    waiting.join().unwrap();
}

#[test]
fn only_what_can_be_written_back_is_a_login() {
    for (text, expected) in [
        ("file:/a#/login/a", true),
        ("keyring:a#/login/a", true),
        ("command:a#/login/a", false),
        ("systemd:a#/login/a", false),
    ] {
        let live = live(Path::new("/nonexistent"), text.strip_suffix("#/login/a").unwrap());
        assert_eq!(live.is_login(), expected, "{text}");
    }
}

#[test]
fn a_login_without_its_parts_is_a_token_that_cannot_be_renewed() {
    let place = Place::with(r#"{"login":{"a":"the-access-token","r":"","e":"soon"}}"#);
    let held = place.live.read().unwrap();
    assert_eq!(parts(&held), ("the-access-token", None, None));
    assert!(format!("{:?}", held.secret).contains("REDACTED"), "{:?}", SecretString::from("x"));
    place.write(r#"{"login":{"a":"the-access-token"#);
    let Err(error) = place.live.read() else { panic!() };
    assert!(error.contains("not JSON") && !error.contains("the-access"), "{error}");
}

#[test]
fn a_login_that_a_killed_launcher_has_written_is_put_in_place() {
    let place = Place::with(LOGIN);
    let left = place.folder.path().join(".login.jail-new");
    let old = place.live.read().unwrap();
    // Killed before the server answered: the room alone is no login.
    let mut turn = place.live.take_turn().unwrap();
    std::mem::forget(turn.prepared.take());
    drop(turn);
    assert!(left.exists());
    drop(place.live.take_turn().unwrap());
    assert!(!left.exists());
    assert_eq!(parts(&place.live.read().unwrap()), parts(&old));
    // Killed after that: the rest of the reserved space is trailing blanks.
    let new = LOGIN.replace("the-access", "another-access").replace("the-refresh", "another-refresh");
    let leave = |text: &str| {
        std::fs::write(&left, text).unwrap();
        std::fs::set_permissions(&left, Permissions::from_mode(0o600)).unwrap();
    };
    leave(&format!("{new}   "));
    drop(place.live.take_turn().unwrap());
    assert_eq!(place.live.read().unwrap().secret.expose_secret(), "another-access-token");
    assert!(!left.exists());
    // A login by hand since then is the newer one.
    leave(&LOGIN.replace("the-access", "stale-access"));
    File::open(&left).unwrap().set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    place.write(LOGIN);
    drop(place.live.take_turn().unwrap());
    assert_eq!(parts(&place.live.read().unwrap()), parts(&old));
}

#[test]
fn what_lies_in_the_way_of_a_new_login_stops_the_renewal() {
    let place = Place::with(LOGIN);
    let left = place.folder.path().join(".login.jail-new");
    symlink(place.path(), &left).unwrap();
    assert!(place.live.take_turn().is_err());
    std::fs::remove_file(&left).unwrap();
    std::fs::hard_link(place.path(), &left).unwrap();
    assert!(place.live.take_turn().err().unwrap().contains("in the way"));
}
