//! The real Claude Code in its ready-made jail. Run by `checks/agents.sh`, which names the program in
//! `JAIL_TEST_CLAUDE`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Jail, Logins, Place, Server, anthropic, descendants, places, random};

const REPLY: &str = "hello from the stand-in, which is no model at all";

/// Where `claude` is.
fn program() -> PathBuf {
    let path = PathBuf::from(std::env::var_os("JAIL_TEST_CLAUDE").expect("JAIL_TEST_CLAUDE names claude"));
    assert!(path.exists(), "{} is not there", path.display());
    path
}

/// `jail run claude … -- -p "say hi"`: what `jail claude -p "say hi"` is, with the way to the stand-in.
fn says_hi(jail: Jail, variable: &str, token: &str) -> Server {
    let (server, program) = (anthropic(REPLY), program());
    let directories = [program.parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")];
    let jail = jail.ready_made("claude").upstream(&server).guards(token);
    let jail = jail.variable("PATH", std::env::join_paths(directories).unwrap());
    let running = jail.start(["-p", "say hi"]);

    // The token has been used, and Claude Code waits for an answer: now every process of the jail is looked through.
    server.wait_for_request("/v1/messages");
    let launcher = running.launcher();
    let processes: Vec<Pid> =
        descendants(launcher).into_iter().map(|(pid, _)| pid).filter(|pid| *pid != launcher).collect();
    assert_eq!(places(token, &processes), BTreeSet::new());
    // What is there is found: the dummy.
    let environments: Vec<String> = processes
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/environ")).ok())
        .collect();
    let variables = environments.iter().flat_map(|environment| environment.split('\0'));
    let mut dummies = variables.filter_map(|pair| pair.strip_prefix(variable)?.strip_prefix('='));
    let dummy = dummies.next().expect("the dummy is in the environment");
    let found = places(dummy, &processes);
    assert!(found.contains(&Place::Environment) && found.contains(&Place::Memory), "{found:?}");

    server.release(100);
    running.ends().succeeds().prints(REPLY).swapped(variable, "api.anthropic.com:443");
    server
}

#[test]
#[ignore = "needs the npm package; run by checks/agents.sh"]
fn with_an_api_key() {
    let token = random("sk-ant-api03-");
    let message = says_hi(Jail::new().secret("ANTHROPIC_API_KEY", &token), "ANTHROPIC_API_KEY", &token)
        .wait_for_request("/v1/messages");
    assert_eq!(message.header("x-api-key").as_deref(), Some(&*token));
}

#[test]
#[ignore = "needs the npm package; run by checks/agents.sh"]
fn with_an_oauth_token() {
    let token = random("sk-ant-oat01-");
    let message =
        says_hi(Jail::new().secret("CLAUDE_CODE_OAUTH_TOKEN", &token), "CLAUDE_CODE_OAUTH_TOKEN", &token)
            .wait_for_request("/v1/messages");
    assert_eq!(message.header("authorization").as_deref(), Some(&*format!("Bearer {token}")));
}

/// Nothing but the host's own login, which has expired: it is renewed, written back, and Claude Code never sees it.
#[test]
#[ignore = "needs the npm package; run by checks/agents.sh"]
fn with_the_login_of_the_host() {
    let logins = Logins::new();
    let server = logins.serve_as("unused.test", "platform.claude.com");
    let jail = logins.tokens().fold(Jail::new().upstream(&server), |jail, token| jail.guards(token));
    let file = jail.home().join(".claude/.credentials.json");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    let (access, refresh) = logins.pair(0);
    let login = |access: &str, refresh: &str, expires: u64| {
        json!({"claudeAiOauth": {
            "accessToken": access, "refreshToken": refresh, "expiresAt": expires,
            "scopes": ["user:inference", "user:profile"], "subscriptionType": "max",
        }})
    };
    std::fs::write(&file, login(access, refresh, 1_700_000_000_000).to_string()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();

    let (access, refresh) = logins.pair(1);
    let kept = jail.keep();
    let message = says_hi(jail, "CLAUDE_CODE_OAUTH_TOKEN", access).wait_for_request("/v1/messages");
    assert_eq!(message.header("authorization").as_deref(), Some(&*format!("Bearer {access}")));
    assert_eq!(logins.counts(), (1, 0));
    let stored: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let expires = stored["claudeAiOauth"]["expiresAt"].as_u64().unwrap();
    assert_eq!(stored, login(access, refresh, expires));
    assert!(expires > 1_700_000_000_000);
    drop(kept);
}
