//! Paths of every kind mean themselves in a profile, and no path ends the string that holds it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use proptest::prelude::*;
use sandbox::backend::Error;
use sandbox::backend::seatbelt::layout::{Host, Layout};
use sandbox::backend::seatbelt::profile::{self, Ends};
use sandbox::plan::{Access, Entry, Plan};

use crate::sbpl::{Profile, To};

fn profile(path: &str, absent: &[PathBuf]) -> Result<String, Error> {
    let bind = Entry::Bind { source: path.into(), target: path.into(), access: Access::ReadWrite };
    let plan = Plan { tree: vec![bind], absent: absent.to_vec(), ..Plan::default() };
    let host = Host { private: "/private/job".into(), ..Host::default() };
    profile::of(&Layout::of(&plan, &host)?, &Ends { port: 1, terminal: None })
}

fn part() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        '"', '\\', '(', ')', ' ', '\n', '\t', ';', '#', '\'', '|', '*', '+', '.', '[', ']', '$', '^', '{',
        '}', '?', 'é', 'ß', '\u{301}', '猫', 'a', 'B',
    ]);
    let character = prop_oneof![odd, any::<char>().prop_filter("of a name", |c| !matches!(c, '/' | '\0'))];
    prop::collection::vec(character, 1..12)
        .prop_map(|characters| characters.into_iter().collect::<String>())
        .prop_filter("a name", |name| name != "." && name != "..")
}

proptest! {
    #[test]
    fn a_path_means_itself(first in part(), second in part(), other in part()) {
        let path = format!("/{first}/{second}");
        let profile = Profile::read(&profile(&path, &[]).unwrap());
        let inside = format!("{path}/x");
        prop_assert!(profile.allows("file-write-data", To::Path(&inside)));
        let beside = format!("/{first}/{other}");
        prop_assert_eq!(profile.allows("file-write-data", To::Path(&beside)), other == second);
        let longer = format!("{path}x");
        prop_assert!(!profile.allows("file-write-data", To::Path(&longer)));
    }

    #[test]
    fn an_absent_path_stays_absent_and_others_do_not(first in part(), name in part(), other in part()) {
        let root = format!("/{first}");
        let profile = Profile::read(&profile(&root, &[PathBuf::from(format!("{root}/{name}"))]).unwrap());
        let absent = format!("{root}/{name}");
        for path in [absent.clone(), format!("{absent}/x"), format!("{root}/{}", name.to_ascii_uppercase())] {
            prop_assert!(!profile.allows("file-write-create", To::Path(&path)), "{}", path);
        }
        // Beyond ASCII more is denied than asked for.
        if name.is_ascii() && !other.eq_ignore_ascii_case(&name) {
            let path = format!("{root}/{other}");
            prop_assert!(profile.allows("file-write-create", To::Path(&path)));
        }
    }
}

#[test]
fn what_a_profile_cannot_say_is_refused() {
    let odd = |bytes: &[u8]| {
        let source = PathBuf::from(OsString::from_vec(bytes.to_vec()));
        let bind = Entry::Bind { source: source.clone(), target: source, access: Access::ReadOnly };
        let plan = Plan { tree: vec![bind], ..Plan::default() };
        let host = Host { private: "/private/job".into(), ..Host::default() };
        profile::of(&Layout::of(&plan, &host).unwrap(), &Ends::default()).unwrap_err()
    };
    assert!(matches!(odd(b"/a\xff"), Error::OddPath { .. }));
    assert!(matches!(odd(b"a/b"), Error::OddPath { .. }));
}
