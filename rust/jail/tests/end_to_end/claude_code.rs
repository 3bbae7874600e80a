//! The real Claude Code in its ready-made jail. Run by `checks/claude-code.sh`, which names the program in
//! `JAIL_TEST_CLAUDE`.

use std::path::{Path, PathBuf};

use crate::support::{Jail, Server, anthropic, random};

const REPLY: &str = "hello from the stand-in, which is no model at all";

/// Where `claude` is.
fn program() -> PathBuf {
    let path = PathBuf::from(std::env::var_os("JAIL_TEST_CLAUDE").expect("JAIL_TEST_CLAUDE names claude"));
    assert!(path.exists(), "{} is not there", path.display());
    path
}

/// `jail run claude … -- -p "say hi"`: what `jail claude -p "say hi"` is, with the way to the stand-in.
fn says_hi(server: &Server, variable: &str, token: &str, program: &Path) -> Jail {
    let path = std::env::join_paths(
        [program.parent().unwrap().to_owned()].into_iter().chain(std::env::split_paths("/usr/bin:/bin")),
    );
    let jail = Jail::new().ready_made("claude").upstream(server).secret(variable, token).variable("PATH", path.unwrap());
    let ended = jail.run(["-p", "say hi"]);
    ended.succeeds().prints(REPLY).swapped(variable, "api.anthropic.com:443");
    jail
}

#[test]
#[ignore = "needs the npm package; run by checks/claude-code.sh"]
fn with_an_api_key() {
    let (server, token) = (anthropic(REPLY), random("sk-ant-api03-"));
    says_hi(&server, "ANTHROPIC_API_KEY", &token, &program());
    let message = server.requests().into_iter().find(|seen| seen.path == "/v1/messages").unwrap();
    assert_eq!(message.header("x-api-key").as_deref(), Some(&*token));
}

#[test]
#[ignore = "needs the npm package; run by checks/claude-code.sh"]
fn with_an_oauth_token() {
    let (server, token) = (anthropic(REPLY), random("sk-ant-oat01-"));
    says_hi(&server, "CLAUDE_CODE_OAUTH_TOKEN", &token, &program());
    let message = server.requests().into_iter().find(|seen| seen.path == "/v1/messages").unwrap();
    assert_eq!(message.header("authorization").as_deref(), Some(&*format!("Bearer {token}")));
}
