//! AWS requests: signed with dummies inside, and with the real keys outside. What arrives is checked by an
//! implementation of its own (`aws_client.py`), as the server would.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Jail, Seen, Server, random};

const CLIENT: &str = include_str!("aws_client.py");

struct Keys {
    id: String,
    secret: String,
    token: String,
}

impl Keys {
    fn new() -> Keys {
        let id = format!("AKIA{}", random("").to_uppercase().get(..16).unwrap());
        Keys { id, secret: random("")[..40].to_owned(), token: random("token/") + "==" }
    }

    fn jail(&self, server: &Server) -> Jail {
        Jail::new()
            .allow("api.test")
            .upstream(server)
            .secret("REAL_ID", &self.id)
            .secret("REAL_SECRET", &self.secret)
            .secret("REAL_TOKEN", &self.token)
            .credential("AWS_ACCESS_KEY_ID=env:REAL_ID@api.test")
            .credential("AWS_SECRET_ACCESS_KEY=env:REAL_SECRET@api.test")
            .credential("AWS_SESSION_TOKEN=env:REAL_TOKEN@api.test")
            .options(["--inject", "AWS_ACCESS_KEY_ID=aws:access-key-id"])
            .options(["--inject", "AWS_SECRET_ACCESS_KEY=aws:secret-access-key"])
            .options(["--inject", "AWS_SESSION_TOKEN=aws:session-token"])
    }

    /// What a server that knows the real keys says of a request.
    #[track_caller]
    fn check(&self, seen: &Seen) -> String {
        let mut python = Command::new("python3")
            .args(["-c", CLIENT, "check"])
            .env("REAL_SECRET", &self.secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let body: String = seen.content.iter().map(|byte| format!("{byte:02x}")).collect();
        let request = json!({
            "method": seen.method, "path": seen.path, "query": seen.query, "host": seen.host,
            "headers": seen.headers, "body": body,
        });
        python.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[test]
fn curl_signs_with_dummies_and_the_server_sees_the_real_keys_signature() {
    needs!("curl", "python3");
    let (server, keys) = (Server::https("api.test"), Keys::new());
    let jail = keys.jail(&server).host("curl");
    let curl = r#"curl -sS -i -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" -H "x-amz-security-token: $AWS_SESSION_TOKEN""#;
    for (service, more) in [
        (
            "dynamodb",
            r#"-H "content-type: application/x-amz-json-1.0" -d '{"TableName":"t"}' https://api.test/echo"#,
        ),
        ("sts", "'https://api.test/echo?Action=GetCallerIdentity&Version=2011-06-15'"),
        ("s3", "https://api.test/echo"),
    ] {
        let ended = jail.script(&format!("{curl} --aws-sigv4 aws:amz:eu-central-1:{service} {more}"));
        ended.succeeds().prints("HTTP/2 200").swapped("AWS_SECRET_ACCESS_KEY", "api.test:443");
        let seen = server.last();
        assert_eq!(seen.header("x-amz-security-token").unwrap(), keys.token, "{service}");
        assert_eq!(keys.check(&seen), format!("signed by {}", keys.id), "{service} {seen:?}{ended}");
    }
    // Another key than the dummy, and what is not signed.
    let before = server.requests().len();
    for slot in
        ["--aws-sigv4 aws:amz:eu-central-1:sts -u AKIAOFSOMEBODYELSE:another-secret-access-key", "-u a:b"]
    {
        jail.script(&format!("curl -sS -i {slot} https://api.test/echo"))
            .denied("api.test:443", "foreign-credential");
    }
    assert_eq!(server.requests().len(), before);
}

#[test]
fn every_form_of_payload_is_signed_again() {
    needs!("python3");
    let (server, keys) = (Server::https("api.test"), Keys::new());
    let jail = keys.jail(&server).host("python3").host("@shell").file("aws_client.py", CLIENT);
    let kinds = ["chunks", "trailer", "unsigned", "unsigned-trailer", "presigned"];
    let ended = jail.script(&format!("exec python3 aws_client.py {}", kinds.join(" ")));
    for (kind, seen) in kinds.iter().zip(server.requests()) {
        assert_eq!(ended.value(kind), "200", "{ended}");
        assert_eq!(keys.check(&seen), format!("signed by {}", keys.id), "{kind}{ended}");
    }
    ended.succeeds().allowed("api.test:443", kinds.len() as u64).swapped("AWS_SESSION_TOKEN", "api.test:443");
    assert_eq!(server.requests().len(), kinds.len());
}

#[test]
fn keys_that_have_expired_are_read_again_and_the_request_is_signed_with_the_new_ones() {
    needs!("curl", "python3");
    let (server, old, new) = (Server::https("api.test"), Keys::new(), Keys::new());
    let mut jail = Jail::new().host("curl").allow("api.test").upstream(&server);
    let stored = jail.home().join("keys.json");
    let put = |keys: &Keys| {
        let text = json!({ "id": keys.id, "secret": keys.secret, "token": keys.token });
        std::fs::write(&stored, text.to_string()).unwrap();
    };
    for (variable, part) in [
        ("AWS_ACCESS_KEY_ID", "id=access-key-id"),
        ("AWS_SECRET_ACCESS_KEY", "secret=secret-access-key"),
        ("AWS_SESSION_TOKEN", "token=session-token"),
    ] {
        let (pointer, part) = part.split_once('=').unwrap();
        // A command's answer is good for minutes: only the refusal says that there may be another.
        jail = jail
            .credential(&format!("{variable}=command:cat {}#/{pointer}@api.test", stored.display()))
            .options(["--inject", &format!("{variable}=aws:{part}")]);
    }
    let ask = |status: u16, service: &str, more: &str| {
        format!(
            r#"curl -sS -o answer -w '%{{http_code}}\n' -u "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \
            -H "x-amz-security-token: $AWS_SESSION_TOKEN" --aws-sigv4 aws:amz:eu-north-1:{service} {more} \
            https://api.test/refused/{status}"#
        )
    };
    // The body's hash in a header, and unsaid: the second time it is read from what was kept.
    let asks = [ask(403, "s3", "-d a=b"), ask(400, "sqs", "-d a=b"), ask(404, "sqs", "-d a=b")];
    put(&old);
    let mut running = jail.start_script(&format!("{}; echo ready; read go; {}", asks[2], asks[0]));
    running.wait_for("ready");
    put(&new);
    running.writes(b"go\n");
    running.ends().succeeds().prints("404\nready\n403\n").allowed("api.test:443", 2);
    let seen = server.requests();
    let checked: Vec<String> =
        seen.iter().zip([&old, &old, &new]).map(|(seen, keys)| keys.check(seen)).collect();
    assert_eq!(
        checked,
        [format!("signed by {}", old.id), format!("signed by {}", old.id), format!("signed by {}", new.id)]
    );
    assert_eq!(seen.len(), 3);
    put(&old);
    let mut running = jail.start_script(&format!("echo ready; read go; {}; {}", asks[1], asks[1]));
    running.wait_for("ready");
    put(&new);
    running.writes(b"go\n");
    running.ends().succeeds().prints("ready\n400\n400\n").allowed("api.test:443", 2);
    // Once more, and not for the next one, as nothing has changed since.
    let seen = server.requests().split_off(3);
    let checked: Vec<String> =
        seen.iter().zip([&old, &new, &new]).map(|(seen, keys)| keys.check(seen)).collect();
    assert_eq!(
        checked,
        [format!("signed by {}", old.id), format!("signed by {}", new.id), format!("signed by {}", new.id)]
    );
    assert_eq!(seen.len(), 3);
}
