//! A git server: the real `git http-backend` behind a [`Server`].

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tempfile::TempDir;

use super::identity::Identity;
use super::routes::whole;
use super::{AnswerBody, Answered, Server, State};
use crate::support::find;

/// Serves one repository, `/project.git`, with one commit on its branch `main`.
pub(crate) struct GitServer {
    /// The server.
    pub(crate) server: Server,
    place: TempDir,
}

impl GitServer {
    /// Serves it at `host`.
    pub(crate) fn https(host: &str) -> GitServer {
        let place = tempfile::Builder::new().prefix("jail-test-git-").tempdir().unwrap();
        let repository = place.path().join("project.git");
        git(place.path(), &["init", "--quiet", "--bare", "--initial-branch", "main", "project.git"]);
        git(&repository, &["config", "http.receivepack", "true"]);
        git(place.path(), &["clone", "--quiet", "project.git", "first"]);
        let first = place.path().join("first");
        fs::write(first.join("README"), "the first commit\n").unwrap();
        git(&first, &["checkout", "--quiet", "-B", "main"]);
        git(&first, &["add", "README"]);
        git(&first, &["commit", "--quiet", "--message", "first"]);
        git(&first, &["push", "--quiet", "origin", "main"]);
        let root = place.path().to_owned();
        let answer = move |state, request, number| answer(root.clone(), state, request, number);
        let identity = Identity::new(&[host], &[b"h2", b"http/1.1"]);
        GitServer { server: Server::start(&[host], Some(identity), Arc::new(answer)), place }
    }

    /// Its branches, in order.
    pub(crate) fn branches(&self) -> Vec<String> {
        let format = "--format=%(refname:short)";
        let text = git(&self.place.path().join("project.git"), &["for-each-ref", format, "refs/heads"]);
        text.lines().map(str::to_owned).collect()
    }

    /// Changes its configuration.
    pub(crate) fn config(&self, name: &str, value: &str) {
        git(&self.place.path().join("project.git"), &["config", name, value]);
    }

    /// The subject of the newest commit of a branch.
    pub(crate) fn subject(&self, branch: &str) -> String {
        git(&self.place.path().join("project.git"), &["log", "-1", "--format=%s", branch])
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = command(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// git without anybody's settings.
fn command(directory: &Path) -> Command {
    let mut command = Command::new(find("git").unwrap());
    command.current_dir(directory).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", directory);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Test").env(format!("GIT_{role}_EMAIL"), "test@example.com");
    }
    command
}

fn answer(root: PathBuf, state: Arc<State>, request: Request<Incoming>, number: usize) -> Answered {
    Box::pin(async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        state.requests.lock().unwrap()[number].body = body.len();
        let answered = tokio::task::spawn_blocking(move || backend(&root, &head, &body)).await.unwrap();
        answered.unwrap_or_else(|error| {
            let mut response = whole(Bytes::from(error.to_string()));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    })
}

/// One request as CGI (RFC 3875).
fn backend(root: &Path, head: &http::request::Parts, body: &[u8]) -> std::io::Result<Response<AnswerBody>> {
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut child = command(root)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // It reads all of a request before it answers more than a pipe holds.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(body));
    let output = child.wait_with_output()?.stdout;
    written?;
    let end =
        output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len().saturating_sub(4));
    let mut response = whole(Bytes::copy_from_slice(&output[end + 4..]));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name == "Status" {
            *response.status_mut() = StatusCode::from_bytes(&value.as_bytes()[..3]).unwrap();
        } else {
            response
                .headers_mut()
                .insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
    }
    Ok(response)
}
