use super::*;

fn refused(text: &str) -> String {
    JailSpec::parse(text, "x.json").unwrap_err().to_string()
}

#[test]
fn every_preset_is_a_specification_of_its_own_name() {
    for (name, _) in PRESETS {
        let spec = JailSpec::find(name, &[]).unwrap();
        assert_eq!(spec.name, *name);
        policy::Policy::new(spec.rules).unwrap();
    }
}

#[test]
fn a_login_of_claude_code_makes_no_keys_from_inside() {
    let policy = policy::Policy::new(JailSpec::find("claude", &[]).unwrap().rules).unwrap();
    let decide = |method: &str, path: &str| {
        policy.decide(&policy::Request {
            scheme: policy::Scheme::Https,
            authority: &"api.anthropic.com:443".parse().unwrap(),
            method,
            path: &policy::RequestPath::of_target(path),
            query: "",
            websocket: false,
        })
    };
    for path in ["/api/oauth/claude_cli/create_api_key", "//api/oauth/claude_cli/create_api_key"] {
        assert!(matches!(decide("POST", path), policy::Decision::Deny { .. }), "{path}");
    }
    for (method, path) in [("POST", "/v1/messages"), ("GET", "/api/oauth/claude_cli/roles"), ("HEAD", "/")] {
        assert!(matches!(decide(method, path), policy::Decision::Allow { .. }), "{path}");
    }
}

#[test]
fn no_key_but_the_jail_s_own_goes_to_google_in_a_query() {
    for (name, variable) in [("gemini", "GEMINI_API_KEY"), ("opencode", "GOOGLE_GENERATIVE_AI_API_KEY")] {
        let spec = JailSpec::find(name, &[]).unwrap();
        let credential = spec.credentials.iter().find(|known| known.variable == variable).unwrap();
        let places = credential.places().unwrap();
        // The parameters that Google's servers take for `x-goog-api-key`.
        for place in ["well-known", "query:key", "query:$key"] {
            assert!(places.contains(&place.parse().unwrap()), "{name}: {place}");
        }
    }
}

#[test]
fn an_unknown_field_is_named_with_its_place() {
    let text = r#"{"version":1,"name":"x","credentials":[{"variable":"A","sources":["env:A"],"hosts":["a.example"],"host":1}]}"#;
    let error = refused(text);
    assert!(error.contains("credentials[0]") && error.contains("`host`"), "{error}");
}

#[test]
fn another_version_is_refused_before_its_fields_are_read() {
    assert_eq!(
        refused(r#"{"version":7,"name":"x","whatever":{}}"#),
        "x.json is of version 7, this jail reads version 1; update the one that is older"
    );
}

#[test]
fn broken_empty_and_trailing_text_is_an_error() {
    for text in ["", "{", "null", "[]", "{}", r#"{"version":1}"#, r#"{"version":1,"name":"x"} {}"#] {
        refused(text);
    }
    assert!(refused(r#"{"version":1,"name":"x","rules":["https://"]}"#).contains("rules[0]"));
}

#[test]
fn a_credential_cannot_also_be_a_plain_variable() {
    for plain in [r#""environment":{"A":"1"}"#, r#""passEnvironment":["A"]"#] {
        let text = format!(
            r#"{{"version":1,"name":"x",{plain},"credentials":[{{"variable":"A","sources":["env:A"],"hosts":["a.example"]}}]}}"#
        );
        assert!(refused(&text).contains("real value would be in the jail"), "{text}");
    }
    // Nor can what a credential is taken from.
    let text = r#"{"version":1,"name":"x","passEnvironment":["REAL"],"credentials":[{"variable":"A","sources":["file:/x","env:REAL"],"hosts":["a.example"]}]}"#;
    assert!(refused(text).contains("REAL"), "{text}");
}

#[test]
fn names_do_not_leave_the_directories() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("inner")).unwrap();
    std::fs::write(directory.path().join("x.json"), r#"{"version":1,"name":"x"}"#).unwrap();
    assert!(JailSpec::find("x", &[directory.path().to_owned()]).is_ok());
    for name in ["../x", "", ".", "..", "inner/../x", "/etc/passwd", "-x"] {
        let error = JailSpec::find(name, &[directory.path().join("inner")]).unwrap_err();
        assert!(matches!(error, SpecError::Unknown { .. }), "{name}: {error}");
    }
}

#[test]
fn a_directory_comes_before_the_presets() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("claude.json"),
        r#"{"version":1,"name":"claude","description":"mine"}"#,
    )
    .unwrap();
    let spec = JailSpec::find("claude", &[directory.path().to_owned()]).unwrap();
    assert_eq!(spec.description, "mine");
}

#[test]
fn a_relative_directory_of_jail_path_is_ignored() {
    let found = directories(Some(std::ffi::OsStr::new("relative:/absolute:.")), Some(Path::new("/c")));
    assert_eq!(found, ["/absolute", "/etc/nix-jail", "/c/nix-jail"].map(PathBuf::from));
}

#[test]
fn a_specification_survives_writing_and_reading() {
    for (name, _) in PRESETS {
        let spec = JailSpec::find(name, &[]).unwrap();
        let text = serde_json::to_string(&spec).unwrap();
        let again = JailSpec::parse(&text, "again").unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}

#[test]
fn a_closure_is_absolute_paths_and_variables() {
    let of = |closure: &str| {
        JailSpec::parse(&format!(r#"{{"version":1,"name":"x","closure":{closure}}}"#), "x.json")
    };
    let spec = of(r#"{"storePaths":"/a","path":["/b/bin"],"environment":{"A":"1"}}"#).unwrap();
    assert_eq!(spec.closure.unwrap().path, [PathBuf::from("/b/bin")]);
    assert!(of(r#"{"storePaths":"/a"}"#).is_ok());
    for closure in [
        r#"{}"#,
        r#"{"storePaths":"a"}"#,
        r#"{"storePaths":"/a","path":["bin"]}"#,
        r#"{"storePaths":"/a","environment":{"A=B":"1"}}"#,
        r#"{"storePaths":"/a","paths":[]}"#,
    ] {
        of(closure).unwrap_err();
    }
}
