use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::frame::{Kind, first, put};
use super::lanes::{End, Event, Lanes};

/// Two ends that are joined; what each does with its lanes is the test's.
fn ends() -> [(OwnedFd, OwnedFd); 2] {
    let ((near_in, far_out), (far_in, near_out)) = (pipe().unwrap(), pipe().unwrap());
    [(near_in.into(), near_out.into()), (far_in.into(), far_out.into())]
}

/// A stream, and the end of it that a lane is joined to.
fn stream() -> (UnixStream, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (ours, theirs.into())
}

/// Works until the other end is gone.
fn work(ends: (OwnedFd, OwnedFd), joined: Vec<(u32, OwnedFd)>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut lanes = Lanes::over(ends.0, ends.1).unwrap();
        for (lane, stream) in joined {
            lanes.join_both(lane, End::Socket, stream);
        }
        loop {
            if let Err(error) = lanes.turn(&[]) {
                return error.to_string();
            }
            loop {
                match lanes.next() {
                    Ok(Some(Event::Gone)) => return "gone".to_owned(),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
        }
    })
}

#[test]
fn a_lane_that_nobody_reads_holds_up_no_other() {
    let [near, far] = ends();
    let ((stuck, stuck_far), (_unread, stuck_near)) = (stream(), stream());
    let ((mut here, here_far), (mut there, there_near)) = (stream(), stream());
    let _far = work(far, vec![(16, stuck_far), (17, here_far)]);
    let _near = work(near, vec![(16, stuck_near), (17, there_near)]);
    // Until neither the lane nor the sockets at its ends take any more.
    stuck.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let chunk = vec![1; 64 * 1024];
    let sent = (0..1000).take_while(|_| (&stuck).write_all(&chunk).is_ok()).count();
    assert!(sent > 1 && sent < 100, "{sent} chunks were taken of a lane that nobody reads");
    let large = vec![7; 4 << 20];
    let writer = {
        let large = large.clone();
        thread::spawn(move || here.write_all(&large).map(|()| here))
    };
    let mut arrived = vec![0; large.len()];
    there.read_exact(&mut arrived).unwrap();
    assert!(arrived == large);
    // An end passes on its own, the other way stays open.
    let mut here = writer.join().unwrap().unwrap();
    here.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(there.read(&mut [0; 8]).unwrap(), 0);
    there.write_all(b"answer").unwrap();
    drop(there);
    let mut answer = String::new();
    here.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}

#[test]
fn an_end_that_breaks_the_rules_is_not_listened_to_any_longer() {
    let frame = |kind, body: &[u8]| {
        let mut bytes = Vec::new();
        put(&mut bytes, kind, 16, body);
        bytes
    };
    let more_than_room = frame(Kind::Data, &vec![0; 130 * 1024]);
    let after_the_end = [frame(Kind::End, &[]), frame(Kind::Data, b"x")].concat();
    for (bytes, word) in [
        (more_than_room, "more bytes than there was room for"),
        (after_the_end, "more bytes than there was room for"),
        (frame(Kind::Taken, &1u32.to_le_bytes()), "more room than there is"),
        (vec![9; 20], "none of ours"),
        (vec![2, 0, 0, 0, 0, 255, 255, 255, 255], "none of ours"),
    ] {
        let [near, far] = ends();
        let (_stream, theirs) = stream();
        let near = work(near, vec![(16, theirs)]);
        std::fs::File::from(far.1).write_all(&bytes).unwrap();
        let said = near.join().unwrap();
        assert!(said.contains(word), "{word}: {said}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_read_as_more_than_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(Some(frame)) = first(&bytes) {
            prop_assert!(frame.body.len() + 9 == frame.length && frame.length <= bytes.len());
        }
    }
}
