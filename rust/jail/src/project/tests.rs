use serde_json::json;

use super::*;

fn project(fields: Value) -> Project {
    Project::parse("/project".into(), fields.to_string()).unwrap()
}

fn base() -> JailSpec {
    let base = json!({
        "version": 1,
        "name": "base",
        "command": ["agent", "--flag"],
        "rules": [{ "action": "deny", "hosts": ["a.test"] }, "b.test"],
        "credentials": [
            { "variable": "A", "sources": ["env:A"], "hosts": ["b.test"] },
            { "variable": "B", "sources": ["env:B"], "hosts": ["b.test"] }
        ],
        "environment": { "X": "1", "Y": "1" },
        "limits": { "memory": "1G", "pids": 100 },
        "home": "persistent"
    });
    JailSpec::parse(&base.to_string(), "base").unwrap()
}

#[test]
fn fields_that_are_left_out_stay() {
    let merged = project(json!({ "extends": "base" })).merged_into(&base()).unwrap();
    assert_eq!(serde_json::to_value(merged).unwrap(), serde_json::to_value(base()).unwrap());
}

#[test]
fn lists_grow_maps_merge_and_values_are_replaced() {
    let fields = json!({
        "command": ["other"],
        "programs": ["node"],
        "credentials": [{ "variable": "B", "sources": ["env:OTHER"], "hosts": ["b.test"] }],
        "environment": { "Y": "2", "Z": "3" },
        "limits": { "pids": 5 },
        "home": "ephemeral"
    });
    let merged = serde_json::to_value(project(fields).merged_into(&base()).unwrap()).unwrap();
    assert_eq!(merged["name"], "base");
    assert_eq!(merged["command"], json!(["other"]));
    assert_eq!(merged["programs"], json!(["node"]));
    assert_eq!(merged["credentials"].as_array().unwrap().len(), 2);
    assert_eq!(merged["credentials"][1]["sources"], json!(["env:OTHER"]));
    assert_eq!(merged["environment"], json!({ "X": "1", "Y": "2", "Z": "3" }));
    assert_eq!(merged["limits"], json!({ "memory": "1G", "pids": 5 }));
    assert_eq!(merged["home"], "ephemeral");
}

#[test]
fn no_project_file_allows_what_its_jail_denies() {
    let fields = json!({ "rules": ["a.test", "c.test", { "action": "deny", "hosts": ["b.test"] }] });
    let merged = project(fields).merged_into(&base()).unwrap();
    let ProjectRules { denied, allowed } = merged.project_rules;
    let policy = policy::Policy::layered(vec![denied, merged.rules, allowed]).unwrap();
    let is_allowed = |host: &str| {
        let authority = format!("{host}:443").parse().unwrap();
        let path = policy::RequestPath::parse("/").unwrap();
        let request = policy::Request {
            scheme: policy::Scheme::Https,
            authority: &authority,
            method: "GET",
            path: &path,
            query: "",
            websocket: false,
        };
        !matches!(policy.decide(&request), policy::Decision::Deny { .. })
    };
    assert_eq!(["a.test", "b.test", "c.test"].map(is_allowed), [false, false, true]);
}
