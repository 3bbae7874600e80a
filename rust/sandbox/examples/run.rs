//! A launcher for tests and measurements: `run PLAN-WORDS… -- COMMAND…`.
//!
//! Words: `ro:SRC[:DST]`, `rw:SRC[:DST]`, `overlay:LOWER:UPPER:DST`, `link:DST:TO`, `dir:DST`, `own:DST` (writable),
//! `file:DST:TEXT`, `env:K=V`, `cd:DIR`, `tcp:PORT`, `udp:PORT`, `pids:N`, `memory:N`, `timeout:SECONDS`,
//! `lifeline:PIPE` (a named one, whose last writer's end is the job's),
//! `echo` (serve the listeners: each TCP connection is told the address it asked for, each datagram is answered),
//! `doctor` alone (what this host offers),
//! `repeat:N` (run it N times and print the times of each in microseconds).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool of the tests, which fails by panicking"
)]

fn main() -> std::process::ExitCode {
    imp::main()
}

#[cfg(not(target_os = "linux"))]
mod imp {
    pub(crate) fn main() -> std::process::ExitCode {
        std::process::ExitCode::FAILURE
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::ffi::{OsStr, OsString};
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};
    use std::process::ExitCode;
    use std::time::{Duration, Instant};

    use sandbox::backend::native::Native;
    use sandbox::backend::{Backend, Ended, Error, Listeners};
    use sandbox::plan::{Access, Entry, Plan};

    pub(crate) fn main() -> ExitCode {
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        if sandbox::stage::is_wanted(arguments.first().map(OsString::as_os_str)) {
            return sandbox::stage::main();
        }
        if arguments == ["doctor"] {
            for finding in sandbox::backend::native::diagnose() {
                println!("{:?}: {} {}", finding.state, finding.what, finding.cure.unwrap_or_default());
            }
            return ExitCode::SUCCESS;
        }
        let mut plan = Plan {
            job: format!("example-{}", std::process::id()),
            hostname: "jail".into(),
            working_directory: "/".into(),
            ..Plan::default()
        };
        let (mut echo, mut repeat, mut lifeline) = (false, 1, None);
        let mut words = arguments.into_iter();
        for word in words.by_ref() {
            let word = word.into_vec();
            let fields: Vec<&[u8]> = word.splitn(2, |&byte| byte == b':').collect();
            let value = fields.get(1).copied().unwrap_or_default();
            let parts: Vec<PathBuf> = value
                .split(|&byte| byte == b':')
                .map(|part| PathBuf::from(OsStr::from_bytes(part)))
                .collect();
            let number = || std::str::from_utf8(value).unwrap().parse::<u64>().unwrap();
            match fields[0] {
                b"--" => break,
                b"ro" | b"rw" => plan.tree.push(Entry::Bind {
                    source: parts[0].clone(),
                    target: parts.last().unwrap().clone(),
                    access: if fields[0] == b"ro" { Access::ReadOnly } else { Access::ReadWrite },
                }),
                b"overlay" => plan.tree.push(Entry::Overlay {
                    lower: parts[0].clone(),
                    upper: parts[1].clone(),
                    target: parts[2].clone(),
                }),
                b"link" => {
                    plan.tree.push(Entry::Symlink { target: parts[0].clone(), to: parts[1].clone() });
                }
                b"dir" => plan.tree.push(Entry::Directory { target: parts[0].clone(), writable: false }),
                b"own" => plan.tree.push(Entry::Directory { target: parts[0].clone(), writable: true }),
                b"file" => plan.tree.push(Entry::File {
                    target: parts[0].clone(),
                    contents: parts[1].as_os_str().as_bytes().to_vec(),
                    mode: 0o644,
                }),
                b"env" => {
                    let (name, text) = value.split_at(value.iter().position(|&byte| byte == b'=').unwrap());
                    plan.environment
                        .push((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(&text[1..]).to_owned()));
                }
                b"given" => plan.given.push(parts[0].clone()),
                b"durable" => plan.durable.push(parts[0].clone()),
                b"cd" => plan.working_directory = parts[0].clone(),
                b"tcp" => plan.listen.tcp.push(number() as u16),
                b"udp" => plan.listen.udp.push(number() as u16),
                b"pids" => plan.limits.pids = Some(number()),
                b"memory" => plan.limits.memory = Some(number()),
                b"timeout" => plan.limits.timeout = Some(Duration::from_secs(number())),
                b"repeat" => repeat = number(),
                b"lifeline" => lifeline = Some(parts[0].clone()),
                b"echo" => echo = true,
                other => panic!("unknown word {:?}", OsStr::from_bytes(other)),
            }
        }
        plan.command = words.collect();
        let mut code = ExitCode::SUCCESS;
        for _ in 0..repeat {
            let before = Instant::now();
            code = match run(&plan, echo, lifeline.as_deref()) {
                Ok((Ended::Code(code), prepared)) => {
                    if repeat > 1 {
                        println!("{} {}", prepared.as_micros(), before.elapsed().as_micros());
                    }
                    ExitCode::from(code)
                }
                Ok((Ended::Signal(signal), _)) => ExitCode::from(128 + signal as u8),
                Ok((Ended::TimedOut | Ended::DiskUsedUp(_), _)) => ExitCode::from(124),
                Ok((Ended::CutOff, _)) => ExitCode::from(125),
                Err(error) => {
                    let _ = writeln!(std::io::stderr(), "jail: {error}");
                    ExitCode::from(125)
                }
            };
        }
        code
    }

    fn run(plan: &Plan, echo: bool, lifeline: Option<&Path>) -> Result<(Ended, Duration), Error> {
        let before = Instant::now();
        let mut prepared = match lifeline {
            Some(pipe) => Native.prepare_bound_to(plan, File::open(pipe).unwrap().into())?,
            None => Native.prepare(plan)?,
        };
        for notice in prepared.notices() {
            eprintln!("jail: {notice}");
        }
        if echo {
            serve(prepared.take_listeners());
        }
        let took = before.elapsed();
        prepared.run().map(|ended| (ended, took))
    }

    fn serve(listeners: Listeners) {
        for (_, listener) in listeners.tcp {
            std::thread::spawn(move || {
                while let Ok((mut connection, _)) = listener.accept() {
                    let asked = connection.local_addr().unwrap();
                    let _ = connection.write_all(asked.to_string().as_bytes());
                }
            });
        }
        for (_, socket) in listeners.udp {
            std::thread::spawn(move || answer_datagrams(&socket));
        }
    }

    /// Answers from the address that was asked, which the socket tells because the stage has set it up so.
    fn answer_datagrams(socket: &std::net::UdpSocket) {
        use nix::sys::socket::{
            ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg,
        };
        use std::os::fd::AsRawFd;
        loop {
            let mut buffer = [0; 512];
            let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::in_pktinfo);
            let mut slices = [std::io::IoSliceMut::new(&mut buffer)];
            let message = recvmsg::<SockaddrIn6>(
                socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::empty(),
            )
            .unwrap();
            let peer = message.address.unwrap();
            let mut asked = message.cmsgs().unwrap().find_map(|part| match part {
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
                _ => None,
            });
            let info = asked.as_mut().unwrap();
            info.ipi6_ifindex = 0;
            let text = std::net::Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical().to_string();
            sendmsg(
                socket.as_raw_fd(),
                &[std::io::IoSlice::new(text.as_bytes())],
                &[ControlMessage::Ipv6PacketInfo(info)],
                MsgFlags::empty(),
                Some(&peer),
            )
            .unwrap();
        }
    }
}
