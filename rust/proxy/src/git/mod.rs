//! Pushes, where a git rule limits them: what one is to do is read before anything of it goes out.

mod answer;

pub(crate) use answer::{Discovery, report};

use std::time::Duration;

use bytes::BytesMut;
use git_push::{Command, Commands, Lineage, NoPush, Reader, Report, Shown};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use policy::{Change, PushDecision, Reason, RefUpdate, RuleId};
use redact::Coding;
use tokio::time::timeout;

use crate::body::RequestBody;
use crate::budget::Grant;
use crate::denial::Denial;
use crate::job::Job;
use crate::rejection::Rejection;

/// Bytes of a push that are held back until it is known what they do.
const MAX_HELD: usize = 4 * 1024 * 1024;
/// What reading a push takes: that, the longest list of commands, and the commits that its pack shows.
const MEMORY: usize = MAX_HELD + 2 * git_push::MAX_COMMAND_BYTES + git_push::MAX_MEMORY;
/// How long that may take, however slowly they come.
const PUSH_TIMEOUT: Duration = Duration::from_secs(300);

/// A push that may go on.
pub(crate) struct Passed {
    /// The rule by which it does.
    pub(crate) rule: RuleId,
    /// All of it, plain.
    pub(crate) body: RequestBody,
    /// What it does, for the record.
    pub(crate) refs: Vec<String>,
}

/// Reads what a push is to do, and asks the policy about it.
pub(crate) async fn inspect(
    job: &Job,
    request: &policy::Request<'_>,
    headers: &mut HeaderMap,
    body: Incoming,
) -> Result<Passed, Rejection> {
    let coding = coding(headers);
    let readable = *coding.as_ref().unwrap_or(&Coding::Identity);
    let mut push = Push {
        body: RequestBody::decoded(body, readable, job.keeper.vault()),
        held: BytesMut::new(),
        idle: job.limits.idle,
    };
    let found = match coding {
        Ok(_) => push.take_turn(job, request).await,
        Err(denial) => Err(denial.into()),
    };
    let (rule, refs, turn) = match found {
        Ok(found) => found,
        Err(refused) => {
            push.drain().await;
            return Err(refused);
        }
    };
    let Push { mut body, held, .. } = push;
    body.put_back(held.freeze(), turn);
    if readable != Coding::Identity {
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
    }
    Ok(Passed { rule, body, refs })
}

/// How the body is encoded. git sends pushes plain; other clients use gzip.
fn coding(headers: &HeaderMap) -> Result<Coding, Denial> {
    let single = |name| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (value, None) => value.map_or(Ok(""), |value| value.to_str().map_err(drop)),
            _ => Err(()),
        }
    };
    let is_push = single(CONTENT_TYPE)
        .is_ok_and(|kind| kind.eq_ignore_ascii_case("application/x-git-receive-pack-request"));
    let coding = single(CONTENT_ENCODING).ok().and_then(Coding::parse);
    match coding.filter(|coding| is_push && matches!(coding, Coding::Identity | Coding::Gzip)) {
        Some(coding) => Ok(coding),
        None => Err(malformed("a push is sent as application/x-git-receive-pack-request, plain or in gzip")),
    }
}

fn malformed(hint: &'static str) -> Denial {
    Denial { hint: Some(hint), status: StatusCode::BAD_REQUEST, ..Reason::MalformedRequest.into() }
}

/// A push on its way in.
struct Push {
    body: RequestBody,
    /// What was read and has not gone on.
    held: BytesMut,
    idle: Duration,
}

impl Push {
    /// Each push that is read holds memory: those of one job take turns.
    async fn take_turn(
        &mut self,
        job: &Job,
        request: &policy::Request<'_>,
    ) -> Result<(RuleId, Vec<String>, Grant), Rejection> {
        let memory = || Denial::from(Reason::ProxyMemory);
        // Others that need memory must not wait behind a whole queue of pushes.
        let _place = job.budget.push(PUSH_TIMEOUT).await.ok_or_else(memory)?;
        let bulk = job.budget.bulk();
        let turn = bulk.reserve(MEMORY.min(bulk.bytes()), job.limits.dial).await.ok_or_else(memory)?;
        match timeout(PUSH_TIMEOUT, self.decide(job, request)).await {
            Ok(found) => found.map(|(rule, refs)| (rule, refs, turn)),
            Err(_) => Err(Denial::from(Reason::TooLarge).into()),
        }
    }

    async fn decide(
        &mut self,
        job: &Job,
        request: &policy::Request<'_>,
    ) -> Result<(RuleId, Vec<String>), Rejection> {
        let commands = self.commands().await?;
        let names: Vec<String> = commands.commands.iter().map(|command| command.name.to_string()).collect();
        let refuse = |reasons: Vec<Option<Reason>>, rule| {
            Err(match Report::new(&commands, &reasons, rule) {
                Some(report) => Rejection::Push(report),
                None => {
                    let reason = reasons.into_iter().flatten().next().unwrap_or(Reason::PushNotAllowed);
                    Rejection::Denied(reason.into())
                }
            })
        };
        if commands.options {
            return refuse(
                commands.commands.iter().map(|_| Some(Reason::PushOptionNotAllowed)).collect(),
                None,
            );
        }
        // First as if nothing were lost, then as if everything were; only what lies between has to be looked at.
        let ask = |moved: &dyn Fn(usize) -> Change| {
            let updates = commands.commands.iter().enumerate().map(|(position, command)| RefUpdate {
                name: command.name.clone(),
                change: command.change(moved(position)),
            });
            job.policy.decide_push(request, &updates.collect::<Vec<_>>())
        };
        if let PushDecision::Deny { reasons, rule } = ask(&|_| Change::Advance) {
            return refuse(reasons, rule);
        }
        if let PushDecision::Allow { rule } = ask(&|_| Change::Rewind) {
            return Ok((rule, names));
        }
        let advances = self.advances(&commands).await?;
        let moved = |position: usize| match advances.get(position) {
            Some(true) => Change::Advance,
            _ => Change::Rewind,
        };
        match ask(&moved) {
            PushDecision::Allow { rule } => Ok((rule, names)),
            PushDecision::Deny { reasons, rule } => refuse(reasons, rule),
        }
    }

    /// Reads until the pack.
    async fn commands(&mut self) -> Result<Commands, Rejection> {
        let mut reader = Reader::default();
        loop {
            match reader.read(&self.held) {
                Ok(Some(commands)) if commands.commands.is_empty() => {
                    // git asks so whether it would be let in, before it sends much.
                    return match self.held.len() == commands.length && !self.more().await? {
                        true => Ok(commands),
                        false => Err(malformed("bytes after a push of nothing").into()),
                    };
                }
                Ok(Some(commands)) => return Ok(commands),
                Ok(None) if self.more().await? => {}
                Ok(None) => return Err(malformed("the push ends before its pack").into()),
                Err(NoPush::Malformed) => return Err(malformed("the push is not in git's form").into()),
                Err(NoPush::Signed) => {
                    let hint = Some("signed pushes do not pass; push without --signed");
                    return Err(Denial { hint, ..Reason::PushNotAllowed.into() }.into());
                }
                Err(NoPush::TooMany) => {
                    let hint = Some("the push changes more refs than the proxy reads; push fewer at once");
                    return Err(Denial { hint, ..Reason::TooLarge.into() }.into());
                }
            }
        }
    }

    /// Whether each ref only moves on; those that are made or deleted count as such.
    async fn advances(&mut self, commands: &Commands) -> Result<Vec<bool>, Rejection> {
        let is_move = |command: &&Command| !command.old.is_zero() && !command.new.is_zero();
        let moves = commands.commands.iter().filter(is_move).map(|command| (command.old, command.new));
        let mut lineage = Lineage::new(commands.hash, moves, commands.shallow.clone());
        let mut read = commands.length;
        loop {
            let shown = lineage.feed(self.held.get(read..).unwrap_or_default());
            read = self.held.len();
            match shown.map_err(|_| malformed("the push's pack is not a pack"))? {
                Shown::NotYet if read < MAX_HELD && self.more().await? => {}
                _ => break,
            }
        }
        let mut shown = lineage.shown();
        let advances =
            commands.commands.iter().map(|command| !is_move(&command) || shown.next() == Some(true));
        Ok(advances.collect())
    }

    /// Holds the next piece; false at the end.
    async fn more(&mut self) -> Result<bool, Denial> {
        let broken = || malformed("the push breaks off or is not what its encoding says");
        match timeout(self.idle, self.body.frame()).await {
            Ok(None) => Ok(false),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    self.held.extend_from_slice(&data);
                    Ok(true)
                }
                Err(_) => Err(malformed("a push has no trailers")),
            },
            Ok(Some(Err(_))) | Err(_) => Err(broken()),
        }
    }

    /// git reads no answer before it has sent everything.
    async fn drain(self) {
        let Some(mut rest) = self.body.into_rest() else { return };
        let read = async { while let Ok(Some(Ok(_))) = timeout(self.idle, rest.frame()).await {} };
        // Whoever takes longer has to live with a reset.
        let _ = timeout(PUSH_TIMEOUT, read).await;
    }
}
