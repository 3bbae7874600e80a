use crate::support::{Jail, users};

/// Runs the launcher as a shell would, at a terminal of 33 by 101, and does what `driver` says with it.
fn at_terminal(jail: &Jail, script: &str, driver: &str) -> String {
    let program = format!("{}\n{driver}", include_str!("terminal.py"));
    let launcher = jail.command(["sh", "-c", script]);
    let mut command = std::process::Command::new("/usr/bin/python3");
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
