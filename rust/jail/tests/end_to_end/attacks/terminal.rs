//! What a job can do to the terminal of the person in front of it (attack 20).

use crate::support::{Jail, Terminal};

/// Tries to type into each terminal that it can lay hands on, and says what came of it.
const TYPE: &str = r#"
import errno, fcntl, os, struct, termios

def tried(number, request, argument):
    try:
        fcntl.ioctl(number, request, argument)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]

places = {str(number): number for number in range(3) if os.isatty(number)}
try:
    places["tty"] = os.open("/dev/tty", os.O_RDWR)
except OSError as error:
    print("tty=" + errno.errorcode[error.errno])
for name, number in places.items():
    # TIOCSTI types a character; TIOCLINUX pastes the console's selection; TIOCSETD changes what a terminal is; the
    # upper half of a request is nothing that the kernel reads. TIOCCONS takes the console's output.
    results = [tried(number, request, b"x\n") for request in (termios.TIOCSTI, 0x541C, 0x5423)]
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ioctl(number, ctypes.c_ulong(termios.TIOCSTI | 1 << 32), ctypes.c_char_p(b"x"))
    results.append(errno.errorcode[ctypes.get_errno()])
    print(f"{name}={' '.join(results)} size={tried(number, termios.TIOCGWINSZ, b'        ')}")
print("typed all")
"#;

/// Runs the jail's command line in a shell of the terminal's, with its streams as `redirection` says.
fn redirected(jail: &Jail, script: &str, redirection: &str) -> Terminal {
    let command = jail.command(&["python3".into(), script.into()]);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''"));
    let line: Vec<String> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    let mut terminal = jail.start_shell_in_terminal();
    terminal
        .wait_for("outside$ ")
        .types(&format!("stty -echo; {} {redirection}; echo code=$?; exit\n", line.join(" ")));
    terminal
}

#[test]
fn nothing_is_typed_into_a_terminal_with_or_without_one() {
    needs!("python3", "bash");
    let jail = Jail::new().file("type.py", TYPE);
    // The whole terminal, and parts of it: none of these ways goes past the protection.
    let refused = "EPERM EPERM EPERM EPERM size=ok";
    for (redirection, places) in [
        ("", &["0", "1", "2", "tty"][..]),
        ("</dev/null", &["1", "2", "tty"]),
        ("2>/dev/null", &["0", "1", "tty"]),
        ("</dev/null 2>/dev/null", &["1", "tty"]),
    ] {
        let mut terminal = redirected(&jail, "type.py", redirection);
        for place in places {
            terminal.wait_for(&format!("{place}={refused}"));
        }
        terminal.wait_for("typed all").wait_for("code=0");
        terminal.ends();
        let screen = String::from_utf8_lossy(&terminal.screen()).into_owned();
        assert!(!screen.contains("command not found"), "{redirection}: {screen}");
    }
    // Without any terminal there is none to be had.
    let ended = jail.run(["python3", "type.py"]);
    ended.succeeds().prints_only("tty=ENXIO\ntyped all\n");
}

#[test]
fn no_sequence_acts_on_the_terminal_whichever_stream_it_takes() {
    needs!("python3", "bash");
    let script = r#"
import os
# Clipboard; reports of title, window, settings and colours; answerback; printing; transfers; and the one-character forms.
hostile = [b"\033]52;c;c3RvbGVu\007", b"\033]52;c;c3RvbGVu\033\\", b"\033[21t", b"\033[20t", b"\033[18t", b"\033[8;1;1t", b"\005",
           b"\033[5i", b"\033P$q\"p\033\\", b"\033P+q544e\033\\", b"\033]50;?\007", b"\033]1337;RequestUpload=format=tgz\007",
           b"\033]777;notify;a;b\007", b"\033_Gi=1,a=q;AAAA\033\\", b"\033^private\033\\", b"\x9b21t".decode("latin-1").encode(), b"\x9d52;c;b3RoZXI=\x9c".decode("latin-1").encode(),
           b"\033]5" , b"2;c;c3RvbGVu\007"]
for number in (1, 2):
    for sequence in hostile:
        os.write(number, b"<" + sequence + b">")
    # Byte by byte, so that each comes alone.
    for sequence in (b"\033]52;c;c3RvbGVu\007", b"\033[21t"):
        for byte in sequence:
            os.write(number, bytes([byte]))
    os.write(number, b"\033[1;31mcolour\033[0m \033]0;title\007umlaut \xc3\xa4\n")
os.write(1, b"all shown\n")
"#;
    let jail = Jail::new().file("show.py", script);
    for redirection in ["", "</dev/null"] {
        let mut terminal = redirected(&jail, "show.py", redirection);
        terminal.wait_for("all shown").wait_for("code=0");
        terminal.ends();
        let screen = terminal.screen();
        let shown = String::from_utf8_lossy(&screen).into_owned();
        for hostile in [
            "c3RvbGVu",
            "]52",
            "[21t",
            "[20t",
            "[18t",
            "[8;",
            "\u{5}",
            "[5i",
            "$q",
            "+q",
            "]50",
            "RequestUpload",
            "notify;",
            "_G",
            "^private",
            "\u{9b}",
            "\u{9d}",
        ] {
            assert!(!shown.contains(hostile), "{hostile:?} came to the screen ({redirection}): {shown:?}");
        }
        // The control: what is harmless came, on both streams.
        assert_eq!(shown.matches("\x1b[1;31mcolour\x1b[0m").count(), 2, "{shown:?}");
        assert_eq!(shown.matches("umlaut ä").count(), 2, "{shown:?}");
    }
}

#[test]
fn what_a_job_asks_for_does_not_act_on_the_terminal_that_shows_its_log() {
    needs!("python3");
    let jail = super::armed().allow("http://plain.test/**").allow("tcp://db.test:5432").for_people();
    // Names, paths, methods and targets with control characters in every spelling that a request can hold.
    let script = r#"
for text in (b"\xc2\x9b21t", b"\xc2\x9d52;c;c3RvbGVu\xc2\x9c", b"\x9b21t", b"\033[21t", b"\177", b"%1b[21t", b"\xe2\x80\xae"):
    fact(ascii(text), tried(lambda: [
        ask(dial("plain.test", 80), b"GET /x" + text + b" HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n"),
        ask(dial("plain.test", 80), b"GET /?x" + text + b"=1 HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n"),
        ask(dial("plain.test", 80), b"GET /y HTTP/1.1\r\nHost: plain" + text + b".test\r\nConnection: close\r\n\r\n"),
        ask(dial(*PROXY), b"GET http://plain" + text + b".test/y HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n"),
        ask(dial(*PROXY), b"CONNECT plain" + text + b".test:443 HTTP/1.1\r\nHost: plain.test:443\r\n\r\n"),
        ask(dial(*PROXY), b"GET" + text + b" http://plain.test/y HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n"),
    ] and None))
"#;
    let ended = jail.run(super::program(script, &[]));
    ended.succeeds();
    let log = jail.itself(["log"]);
    log.succeeds().prints("plain.test");
    for (what, text) in [("the summary", ended.messages().join("\n")), ("the log", log.text())] {
        let acting: Vec<char> = text
            .chars()
            .filter(|character| *character != '\n' && (character.is_control() || *character == '\u{202e}'))
            .collect();
        assert!(acting.is_empty(), "{what} holds {acting:?}:\n{text:?}");
    }
}
