use proptest::prelude::*;
use proptest::sample::Index;

use super::super::pkt_line::{FLUSH, write};
use super::*;

const ZERO: &str = "0000000000000000000000000000000000000000";
const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

fn lines(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    lines.iter().for_each(|line| write(line.as_bytes(), &mut bytes));
    bytes.extend(FLUSH);
    bytes
}

fn read(bytes: &[u8]) -> Result<Option<Commands>, NoPush> {
    Reader::default().read(bytes)
}

fn command(old: &str, new: &str, name: &str) -> Command {
    let id = |text: &str| Hash::Sha1.read(text.as_bytes()).unwrap();
    Command { name: name.parse().unwrap(), old: id(old), new: id(new) }
}

#[test]
fn a_push_as_git_sends_it() {
    let mut bytes = lines(&[
        &format!("shallow {TWO}"),
        &format!(
            "{ZERO} {ONE} refs/heads/a\0 report-status-v2 side-band-64k object-format=sha1 agent=git/2.47.3"
        ),
        &format!("{ONE} {TWO} refs/heads/b"),
        &format!("{ONE} {ZERO} refs/tags/c\n"),
    ]);
    let length = bytes.len();
    bytes.extend(b"PACK");
    let commands = read(&bytes).unwrap().unwrap();
    assert_eq!(
        commands,
        Commands {
            commands: vec![
                command(ZERO, ONE, "refs/heads/a"),
                command(ONE, TWO, "refs/heads/b"),
                command(ONE, ZERO, "refs/tags/c"),
            ],
            hash: Hash::Sha1,
            shallow: HashSet::from([Hash::Sha1.read(TWO.as_bytes()).unwrap()]),
            report: true,
            side_band: true,
            options: false,
            length,
        }
    );
    let long = format!("{} {} refs/heads/a\0object-format=sha256", "0".repeat(64), "a".repeat(64));
    assert_eq!(read(&lines(&[&long])).unwrap().unwrap().hash, Hash::Sha256);
    assert_eq!(read(FLUSH).unwrap().unwrap().commands, []);
}

#[test]
fn options_are_seen() {
    let push = lines(&[&format!("{ZERO} {ONE} refs/heads/a\0report-status push-options")]);
    for (options, expected) in
        [(&lines(&[])[..], Some(false)), (&lines(&["ci.skip"]), Some(true)), (b"", None)]
    {
        let bytes = [&push, options].concat();
        assert_eq!(read(&bytes).unwrap().map(|commands| commands.options), expected);
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let good = format!("{ZERO} {ONE} refs/heads/a");
    for bad in [
        format!("{ZERO} {ONE}"),
        format!("{ZERO} {ZERO} refs/heads/a"),
        format!("{ZERO}  {ONE} refs/heads/a"),
        format!("{ZERO} {ONE} refs/heads/a "),
        format!("{ZERO} {ONE} refs/heads/a\n\n"),
        format!("{ZERO} {ONE} refs/heads/../a"),
        format!("{ZERO} {ONE} HEAD"),
        format!("{ZERO} {} refs/heads/a", "A".repeat(40)),
        format!("{ZERO} {} refs/heads/a", "1".repeat(39)),
        format!("{ZERO} {} refs/heads/a", "1".repeat(64)),
        format!("{ZERO} {ONE} refs/heads/a\0object-format=sha256"),
        format!("{ZERO} {ONE} refs/heads/a\0object-format=sha1 object-format=sha256"),
        format!("{ZERO} {ONE} refs/heads/a\0object-format=md5"),
        // git takes the first of these, or NAME for NAME=VALUE, or the line feed for a part of the name.
        format!("{ZERO} {ONE} refs/heads/a\0push-options=1"),
        format!("{ZERO} {ONE} refs/heads/a\0push-options="),
        format!("{ZERO} {ONE} refs/heads/a\0report-status=1"),
        format!("{ZERO} {ONE} refs/heads/a\0side-band-64k=x"),
        format!("{ZERO} {ONE} refs/heads/a\0atomic=1"),
        format!("{ZERO} {ONE} refs/heads/a\0quiet quiet"),
        format!("{ZERO} {ONE} refs/heads/a\0object-format"),
        format!("{ZERO} {ONE} refs/heads/a\0report-status\tpush-options"),
        format!("{ZERO} {ONE} refs/heads/a\0report-status\u{a0}push-options"),
        format!("{ZERO} {ONE} refs/heads/a\n\0report-status"),
        format!("shallow {ONE} x"),
        "x".to_owned(),
    ] {
        assert_eq!(read(&lines(&[&bad])), Err(NoPush::Malformed), "{bad:?}");
    }
    let late = format!("{ONE} {TWO} refs/heads/b\0report-status");
    let shallow = format!("shallow {ONE}");
    for second in [&good, &late, &shallow] {
        assert_eq!(read(&lines(&[&good, second])), Err(NoPush::Malformed), "{second:?}");
    }
    for signed in [
        "push-cert\0report-status".to_owned(),
        format!("{good}\0push-cert=nonce"),
        format!("{good}\0push-cert"),
    ] {
        assert_eq!(read(&lines(&[&signed])), Err(NoPush::Signed), "{signed:?}");
    }
    assert_eq!(read(b"0001"), Err(NoPush::Malformed));
}

#[test]
fn a_list_without_end_is_not_waited_for() {
    let mut bytes = Vec::new();
    for number in 0..20_000 {
        write(format!("{ZERO} {ONE} refs/heads/{number}").as_bytes(), &mut bytes);
    }
    assert_eq!(read(&bytes), Err(NoPush::TooMany));
    let mut reader = Reader::default();
    assert_eq!(
        bytes
            .chunks(4096)
            .scan(Vec::new(), |all, piece| {
                all.extend(piece);
                Some(reader.read(all))
            })
            .find(|read| *read != Ok(None)),
        Some(Err(NoPush::TooMany))
    );
}

/// What `git receive-pack` would do, reading as leniently as it does: any line with two names and a ref is a command,
/// whatever else it holds.
fn git_reads(mut bytes: &[u8]) -> Vec<(String, String, String)> {
    let mut commands = Vec::new();
    while let Some(length) = bytes.get(..4).and_then(|digits| str::from_utf8(digits).ok()) {
        let Ok(length) = usize::from_str_radix(length, 16) else { break };
        let Some(line) = bytes.get(4..length) else { break };
        bytes = &bytes[length..];
        let line = String::from_utf8_lossy(line);
        let line = line.split('\0').next().unwrap_or_default().trim_end_matches('\n').to_owned();
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        if let [old, new, name] = words[..] {
            commands.push((old.to_lowercase(), new.to_lowercase(), name.to_owned()));
        }
    }
    commands
}

fn push_like() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![Just(ZERO.to_owned()), Just(ONE.to_owned()), "[0-9a-f]{40}", "[0-9a-fA-F]{38,42}"];
    let name = prop_oneof!["refs/heads/[a-c]{1,2}", "(refs/)?[a-c./*~ ]{0,8}"];
    let end = prop_oneof![4 => Just(String::new()), 1 => Just("\n".to_owned()), 1 => "\0[ a-z-]{0,12}", 1 => "\\PC{0,3}"];
    let command = (id.clone(), id.clone(), name, end)
        .prop_map(|(old, new, name, end)| format!("{old} {new} {name}{end}"));
    let line = prop_oneof![8 => command, 1 => id.prop_map(|id| format!("shallow {id}")), 1 => "\\PC{1,20}"];
    let change = (any::<Index>(), any::<u8>());
    (prop::collection::vec(line, 0..4), prop::collection::vec(change, 0..3)).prop_map(|(list, changes)| {
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let mut bytes = lines(&list);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn nothing_passes_that_git_reads_otherwise(bytes in push_like()) {
        if let Ok(Some(read)) = read(&bytes) {
            let seen: Vec<_> = read.commands.iter().map(|command| {
                let id = |id: ObjectId| format!("{id:?}")[..2 * read.hash.length()].to_owned();
                (id(command.old), id(command.new), command.name.to_string())
            }).collect();
            prop_assert_eq!(seen, git_reads(&bytes));
        }
    }

    #[test]
    fn any_bytes_in_any_pieces(bytes in prop_oneof![push_like(), prop::collection::vec(any::<u8>(), 0..200)], cut in any::<Index>()) {
        let whole = read(&bytes);
        let mut reader = Reader::default();
        let first = reader.read(&bytes[..cut.index(bytes.len() + 1)]);
        let second = if first == Ok(None) { reader.read(&bytes) } else { first };
        prop_assert_eq!(whole, second);
    }
}
