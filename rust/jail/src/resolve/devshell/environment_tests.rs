use super::*;
use std::process::Command;

const BASH: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-bash";

fn filled(json: &str) -> Closure {
    let operator = Operator {
        environment: Default::default(),
        directory: "/".into(),
        home: "/nonexistent".into(),
        uid: 1000,
        writable: Vec::new(),
    };
    let mut closure = Closure { paths: [BASH.into()].into(), ..Closure::default() };
    fill(&mut closure, json, &operator).unwrap();
    closure
}

fn json(variables: &str) -> String {
    format!(
        r#"{{"bashFunctions":{{"greet":"\n  echo \"hello $1\"\n","bad name; echo broken":" :\n"}},
            "variables":{{"builder":{{"type":"exported","value":"{BASH}/bin/bash"}},{variables}}}}}"#
    )
}

#[test]
fn exported_variables_are_the_jails_and_the_path_is_of_the_closure() {
    let closure = filled(&json(&format!(
        r#""A":{{"type":"exported","value":"1"}},"B":{{"type":"var","value":"2"}},"C":{{"type":"array","value":["3"]}},
           "x-y":{{"type":"exported","value":"4"}},"N":{{"type":"unknown"}},
           "PATH":{{"type":"exported","value":"/usr/bin:{BASH}/bin:/nix/store/0123456789abcdfghijklmnpqrsvwxyz-other/bin:."}}"#
    )));
    assert_eq!(closure.environment.keys().collect::<Vec<_>>(), ["A", "builder"]);
    assert_eq!(closure.path, [PathBuf::from(BASH).join("bin")]);
    assert_eq!(closure.hook, None);
}

/// With the bash of this machine.
mod on_the_host {
    use super::*;

    #[test]
    fn the_hook_runs_with_the_shells_functions_and_becomes_the_command() {
        let closure = filled(&json(
            r#""quoted":{"type":"var","value":"it's $HOME"},"list":{"type":"array","value":["a b","c'd"]},
               "map":{"type":"associative","value":{"k e":"v"}},
               "IFS":{"type":"var","value":"x"},"BASH":{"type":"var","value":"/x"},"TMPDIR":{"type":"var","value":"/x"},
               "UID":{"type":"var","value":"0"},
               "shellHook":{"type":"exported","value":"greet \"$quoted\"\necho \"${list[1]} ${map[k e]} $#\"\nexport FROM_HOOK='it is'"}"#,
        ));
        let hook = closure.hook.unwrap();
        assert_eq!(hook.bash, PathBuf::from(BASH).join("bin/bash"));
        assert!(!closure.environment.contains_key("shellHook"));
        // Runs the contents of the jail's `/etc/nix-jail/hook` with this host's bash.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &hook.script).unwrap();
        let command = ["sh", "-c", "echo \"$FROM_HOOK: $1 $TMPDIR\"", "sh", "a  b"];
        let output = Command::new("bash")
            .env("TMPDIR", "/tmp/of-the-jail")
            .arg(file.path())
            .args(command)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "hello it's $HOME\nc'd v 0\nit is: a  b /tmp/of-the-jail\n"
        );
        let missing = Command::new("bash").arg(file.path()).arg("there-is-no-such-program").output().unwrap();
        assert_eq!(missing.status.code(), Some(127));
    }
}

#[test]
fn a_hook_without_bash_is_an_error() {
    let operator = Operator {
        environment: Default::default(),
        directory: "/".into(),
        home: "/nonexistent".into(),
        uid: 1000,
        writable: Vec::new(),
    };
    let json = r#"{"variables":{"shellHook":{"type":"exported","value":":"},"builder":{"type":"exported","value":"/bin/bash"}}}"#;
    let error = fill(&mut Closure::default(), json, &operator).unwrap_err();
    assert!(matches!(error, NixError::NoBash), "{error}");
    assert!(matches!(
        fill(&mut Closure::default(), "[]", &operator).unwrap_err(),
        NixError::Unexpected { .. }
    ));
}
