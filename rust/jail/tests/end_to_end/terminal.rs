//! A job in a terminal.

use crate::support::{Jail, random};

#[test]
fn the_job_has_a_terminal_of_its_own_and_knows_its_size() {
    let jail = Jail::new();
    let mut terminal = jail.start_in_terminal([
        "sh",
        "-c",
        "tty; stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three; read x",
    ]);
    terminal.wait_for("/dev/").wait_for("24 80").wait_for("all three").types("\n");
    assert_eq!(terminal.ends(), 0);
    assert!(terminal.is_cooked());
}

#[test]
fn a_new_window_size_is_passed_on() {
    // `wait` is what a trap interrupts at once.
    let script = "trap 'stty size' WINCH; sleep 600 & echo ready; while :; do wait; done";
    let jail = Jail::new().host("@shell");
    let mut terminal = jail.start_in_terminal(["sh", "-c", script]);
    terminal.wait_for("ready").resize(33, 101).wait_for("33 101");
    terminal.resize(12, 40).wait_for("12 40").types("\x03");
    assert_eq!(terminal.ends(), 130);
}

#[test]
fn control_c_interrupts_the_job_and_the_terminal_is_as_before() {
    let jail = Jail::new();
    let script = "trap 'echo caught; exit 5' INT; stty raw -echo isig; echo ready; while :; do sleep 1; done";
    let mut terminal = jail.start_in_terminal(["sh", "-c", script]);
    terminal.wait_for("ready").types("\x03").wait_for("caught");
    assert_eq!(terminal.ends(), 5);
    assert!(terminal.is_cooked(), "the terminal was left raw");
    let mut terminal = jail.start_in_terminal(["sh", "-c", "echo ready; exec sleep 600"]);
    terminal.wait_for("ready").types("\x03");
    assert_eq!(terminal.ends(), 130);
    assert!(terminal.is_cooked());
}

#[test]
fn control_z_stops_the_job_and_fg_goes_on() {
    needs!("bash");
    let jail = Jail::new().file("work.sh", "echo ready; read answer; echo \"answer=$answer\"; exit 6");
    let program = jail.command(&["sh".into(), "work.sh".into()]);
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    // A shell with job control outside: it must see the launcher stop, and get the terminal back.
    let mut terminal = jail.start_shell_in_terminal();
    terminal.wait_for("outside$ ").types(&format!("{}\n", line.join(" ")));
    terminal.wait_for("ready").types("\x1a").wait_for("Stopped").wait_for("outside$ ");
    terminal.types("echo outside-$((40+2))\n").wait_for("outside-42").wait_for("outside$ ");
    terminal.types("fg\n").wait_for("work.sh").types("yes\n").wait_for("answer=yes").wait_for("outside$ ");
    terminal.types("echo code=$?\n").wait_for("code=6").types("exit 0\n");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn the_job_cannot_write_the_operator_s_clipboard_or_read_its_answers() {
    let jail = Jail::new();
    // OSC 52 sets the clipboard; a title report types the title into the shell that comes after.
    let script =
        r"printf 'a\033]52;c;c3RvbGVu\007b\033]52;c;c3RvbGVu\033\\c\033[21td\033[31mred\033[0m\n'; echo done";
    let mut terminal = jail.start_in_terminal(["sh", "-c", script]);
    terminal.wait_for("done");
    assert_eq!(terminal.ends(), 0);
    let screen = String::from_utf8_lossy(&terminal.screen()).into_owned();
    assert!(!screen.contains("\x1b]52") && !screen.contains("c3RvbGVu"), "{screen:?}");
    assert!(!screen.contains("\x1b[21t"), "{screen:?}");
    assert!(screen.contains("\x1b[31mred\x1b[0m"), "colours must stay: {screen:?}");
}

#[test]
fn the_job_cannot_type_into_the_operator_s_terminal() {
    needs!("python3");
    let script = r#"
import fcntl, os, termios
for number in (0, 1, 2):
    for character in b"touch typed\n":
        try:
            fcntl.ioctl(number, termios.TIOCSTI, bytes([character]))
            print("typed")
        except OSError:
            print("refused")
try:
    os.open("/dev/tty", os.O_RDWR)
    print("opened")
except OSError as error:
    print("no tty")
print("done")
"#;
    let mut terminal = Jail::new().start_in_terminal(["python3", "-c", script]);
    terminal.wait_for("done");
    assert_eq!(terminal.ends(), 0);
    let screen = String::from_utf8_lossy(&terminal.screen()).into_owned();
    assert!(!screen.contains("typed") && screen.contains("refused"), "{screen}");
}

#[test]
fn an_exit_code_and_a_secret_are_the_same_with_a_terminal() {
    let token = random("sk-");
    let jail = Jail::new().secret("T", &token).allow("api.test").credential("T=env:T@api.test");
    // Read from the terminal, so that nothing but the job itself has printed it.
    let mut terminal = jail.start_in_terminal(["sh", "-c", "echo \"dummy=$T\"; env; read line; exit 41"]);
    terminal.wait_for("dummy=sk-").types("\n");
    assert_eq!(terminal.ends(), 41);
}
