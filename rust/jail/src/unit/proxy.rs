//! The proxy of a declared jail: the same as that of any job, on sockets that systemd bound in the jail's network.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libsystemd::daemon::{NotifyState, notify, watchdog_enabled};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use proxy::ProxyHandle;
use proxy::ca::JobCa;
use proxy::config::{Config, Credential, Mode};
use sandbox::backend::{Listeners, Reach};
use sandbox::unit::NetworkId;

use super::handover::Handover;
use super::journal::Journal;
use super::{control, directory, handover, nobody, started, terms};
use crate::cli::RunArgs;
use crate::failure::Failure;
use crate::way_out;
use crate::{assemble, credentials, descriptors, git, run};

/// How long requests under way may take to end when the jail stops: its job has ended before.
const GRACE: Duration = Duration::from_secs(1);

/// What there is to watch over.
struct Serving {
    proxy: ProxyHandle,
    known: Vec<Credential>,
    control: UnixListener,
    handover: Handover,
}

/// Serves until it is told to stop.
pub(super) fn run(name: &str) -> Result<ExitCode, Failure> {
    run::close_memory()?;
    let signals = catch_signals().map_err(|os| Failure::no_jail(format!("cannot catch signals: {os}")))?;
    let variable = |name: &str| std::env::var(name).ok();
    let passed =
        sandbox::unit::take_sockets(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref())
            .map_err(Failure::no_jail)?;
    let serving = serve(name, passed.listeners, passed.network)
        .inspect_err(|failure| handover::refuse(&passed.job, &signals, &failure.message))?;
    started("serving");

    let told = watch(name, &serving, &signals, &passed.job);
    serving.proxy.shutdown(GRACE);
    told.map(|()| ExitCode::SUCCESS)
}

fn serve(name: &str, listeners: Listeners, jail: NetworkId) -> Result<Serving, Failure> {
    let control = control::listen(&directory("RUNTIME_DIRECTORY")?)?;
    let host = sandbox::unit::own_network().map_err(Failure::no_jail)?;
    let (spec, terms) = terms::first(name)?;
    let known = terms.credentials.clone();
    let ca = JobCa::generate().map_err(Failure::no_jail)?;
    let handover = Handover {
        id: format!("{name}-{}", std::process::id()),
        dummies: credentials::dummies(&spec, &known),
        git: git::configuration(&known, &terms.policy),
        certificate: ca.certificate_pem().to_owned(),
        host,
        jail,
    };
    sandbox::keep_freed_memory();
    let config = Config {
        policy: terms.policy,
        mode: Mode::Enforce,
        credentials: terms.credentials,
        upstream: way_out::upstream(&spec, &RunArgs::default(), &nobody("/".into()))?,
        limits: descriptors::fitting(assemble::proxy_limits(&spec)),
        ca,
        audit: Arc::new(Journal),
        password: None,
    };
    let proxy =
        proxy::serve(run::listeners(listeners, &Reach::Everywhere), config).map_err(Failure::no_jail)?;
    Ok(Serving { proxy, known, control, handover })
}

/// Tells the job's launcher what it is given, answers requests to reload, and tells systemd that the proxy is well, until
/// the unit is to stop.
fn watch(
    name: &str,
    Serving { proxy, known, control, handover }: &Serving,
    signals: &SignalFd,
    job: &UnixListener,
) -> Result<(), Failure> {
    // Twice as often as it must be heard of.
    let watchdog = watchdog_enabled(false).map(|limit| limit / 2);
    let wait = watchdog.and_then(|wait| PollTimeout::try_from(wait).ok()).unwrap_or(PollTimeout::NONE);
    let mut launcher: Option<UnixStream> = None;
    loop {
        let mut events =
            [signals.as_fd(), control.as_fd(), launcher.as_ref().map_or_else(|| job.as_fd(), AsFd::as_fd)]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut events, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(os) => return Err(Failure::no_jail(format!("cannot watch over the proxy: {os}"))),
        }
        let [stop, reload, of_launcher] =
            events.map(|event| event.revents().is_some_and(|flags| !flags.is_empty()));
        if stop {
            return Ok(());
        }
        if of_launcher {
            // It says nothing: one that is there has ended.
            launcher = if launcher.is_some() { None } else { handover.give(job) };
        }
        if reload {
            control::answer(control, || {
                let terms = terms::again(name, known).map_err(|failure| failure.message)?;
                proxy.change(terms).map_err(|error| error.to_string())
            });
        }
        // Only a proxy that gets to its work is well.
        if let Some(limit) = watchdog
            && proxy.is_at_work(limit)
            && let Err(error) = notify(false, &[NotifyState::Watchdog])
        {
            tracing::debug!(%error, "systemd was not told that the proxy is well");
        }
    }
}

fn catch_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}
