use crate::support::{Jail, users};

/// Runs the launcher as a shell would, at a terminal of 33 by 101, and does what `driver` says with it.
fn at_terminal(jail: &Jail, script: &str, driver: &str) -> String {
    driven(jail, script, driver, false)
}

fn driven(jail: &Jail, script: &str, driver: &str, is_background: bool) -> String {
    let program = format!("{}\n{driver}", include_str!("terminal.py"));
    let launcher = jail.command(["sh", "-c", script]);
    let mut command = std::process::Command::new("/usr/bin/python3");
    command.envs(is_background.then_some(("BACKGROUND", "1")));
    command.args(["-c", &program]).arg(launcher.get_program()).args(launcher.get_args());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn the_job_has_a_terminal_of_its_own_of_the_same_size_that_follows() {
    for user in users() {
        let script =
            "tty; stty size; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.05; done";
        let driver = "
shows('/dev/pts/0'); shows('33 101'); shows('ready')
resize(20, 60); shows('20 60'); ends_with(4)
print('fine')";
        assert_eq!(at_terminal(&Jail::of(user), script, driver), "fine", "{user:?}");
    }
}

#[test]
fn what_is_typed_arrives_and_interrupts() {
    for user in users() {
        let script = "read line; echo got $line; trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.05; done";
        let driver = "
types('hello\\r'); shows('got hello'); shows('ready'); types('\\x03'); shows('interrupted'); ends_with(6)
assert cooked(), 'the terminal is given back as it was'
print('fine')";
        assert_eq!(at_terminal(&Jail::of(user), script, driver), "fine", "{user:?}");
    }
}

#[test]
fn the_job_is_stopped_and_continued_like_any_other() {
    for user in users() {
        let script = "echo ready; read line; echo got $line; exit 5";
        let driver = "
shows('ready'); assert not cooked(), 'raw while the job has it'
types('\\x1a'); stops(); assert cooked(), 'given back while stopped'
continues(); types('again\\r'); shows('got again'); ends_with(5); assert cooked()
print('fine')";
        assert_eq!(at_terminal(&Jail::of(user), script, driver), "fine", "{user:?}");
    }
}

#[test]
fn a_job_that_is_brought_to_the_foreground_gets_the_keyboard() {
    for user in users() {
        let driver = "
shows('ready'); assert not cooked(), 'the line editor has the keyboard'
to_foreground()
deadline = time.monotonic() + PATIENCE
while cooked(): assert time.monotonic() < deadline; time.sleep(0.01)
types('hello\\r'); shows('got hello'); ends_with(0); assert cooked()
print('fine')";
        let script = "echo ready; read line; echo got $line";
        assert_eq!(driven(&Jail::of(user), script, driver, true), "fine", "{user:?}");
    }
}

#[test]
fn a_terminal_that_nobody_drains_does_not_hold_up_the_time_limit() {
    for user in users() {
        let driver = "stalls(); ends_unread_with(124)\nprint('fine')";
        assert_eq!(at_terminal(&Jail::of(user).word("timeout:2"), "yes", driver), "fine", "{user:?}");
    }
}

#[test]
fn a_terminal_that_nobody_drains_does_not_hold_up_a_signal() {
    for user in users() {
        let driver = "stalls(); terminate(); ends_unread_with(128 + 15)\nprint('fine')";
        assert_eq!(at_terminal(&Jail::of(user), "yes", driver), "fine", "{user:?}");
    }
}

#[test]
fn a_terminal_that_is_drained_late_gets_everything() {
    for user in users() {
        // Longer than a terminal counts as stalled; the job has ended long before.
        let driver = "
stalls(); time.sleep(3)
shows('the end'); ends_with(0); assert output().count(b'\\n') == 20001, output().count(b'\\n')
print('fine')";
        let script = "seq 20000; echo the end";
        assert_eq!(at_terminal(&Jail::of(user), script, driver), "fine", "{user:?}");
    }
}

#[test]
fn nothing_is_lost_on_a_terminal_that_is_made_non_blocking() {
    for user in users() {
        let driver = "
shows('ready'); make_nonblocking(); types('\\r'); stalls()
shows('the end'); ends_with(0); assert is_nonblocking(), 'the flag is the host program's'
assert output().count(b'\\n') >= 30002, output().count(b'\\n')
print('fine')"
            .replace("program's", "program\\'s");
        let script = "echo ready; read line; seq 30000; echo the end";
        assert_eq!(at_terminal(&Jail::of(user), script, &driver), "fine", "{user:?}");
    }
}

#[test]
fn a_job_that_stops_its_own_command_is_frozen_and_ends_in_time() {
    for user in users() {
        let directory = user.directory();
        let path = directory.path();
        // What goes on while the launcher is stopped would be without limits.
        let script = format!(
            "cd {}; (while :; do echo >> beats; sleep 0.01; done) & until [ -s beats ]; do sleep 0.01; done; echo ready; kill -STOP $$; sleep 1000",
            path.display()
        );
        let driver = format!(
            "
import pathlib
beats = lambda: pathlib.Path({:?}, 'beats').stat().st_size
shows('ready'); stops(); before = beats(); time.sleep(0.5)
assert beats() == before, 'a process of the job runs while the launcher is stopped'
continues()
deadline = time.monotonic() + PATIENCE
while beats() == before: assert time.monotonic() < deadline; time.sleep(0.01)
ends_with(124)
print('fine')",
            path.display().to_string()
        );
        let jail = Jail::of(user).rw(path).word("timeout:4");
        assert_eq!(at_terminal(&jail, &script, &driver), "fine", "{user:?}");
        // Nobody continues it.
        let driver = "shows('ready'); stops(); ends_with(124)\nprint('fine')";
        assert_eq!(at_terminal(&jail, &script, driver), "fine", "{user:?}");
    }
}

#[test]
fn output_is_filtered_and_complete() {
    for user in users() {
        let script = "printf 'a\\033]52;c;Zm9v\\007b\\033[21tc\\033[1md\\n'; seq 20000; echo end";
        let driver = "
shows('end'); ends_with(0)
assert b'abc\\x1b[1md' in output(), output()[:100]
assert output().count(b'\\n') >= 20002, output().count(b'\\n')
print('fine')";
        assert_eq!(at_terminal(&Jail::of(user), script, driver), "fine", "{user:?}");
    }
}

#[test]
fn a_killed_terminal_ends_the_job() {
    for user in users() {
        let script = "echo ready; sleep 1000";
        let driver = "
shows('ready'); hang_up(); ends_with(128 + 1)
print('fine')";
        assert_eq!(at_terminal(&Jail::of(user), script, driver), "fine", "{user:?}");
    }
}

#[test]
fn a_pipe_beside_a_terminal_stays_a_pipe() {
    for user in users() {
        let script = "test -p /dev/stdin && test -t 1 && cat && echo && echo ask: && read line < /dev/tty && echo got $line";
        let driver =
            "shows('piped'); shows('ask:'); types('key\\r'); shows('got key'); ends_with(0)\nprint('fine')";
        let jail = Jail::of(user).wrapped(["bash", "-c", "exec \"$@\" < <(printf piped)", "bash"]);
        assert_eq!(at_terminal(&jail, script, driver), "fine", "{user:?}");
    }
}
