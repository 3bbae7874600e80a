use super::super::test_support::{CODINGS, encode, encode_whole};
use super::*;

fn decode(coding: Coding, chunks: &[&[u8]], room: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding).unwrap();
    let mut plain = Vec::new();
    let mut output = vec![0; room];
    for chunk in chunks {
        let mut input = Bytes::copy_from_slice(chunk);
        while !input.is_empty() || decoder.has_more() {
            let length = decoder.step(&mut input, &mut output)?;
            plain.extend_from_slice(&output[..length]);
        }
    }
    decoder.finish().map(|()| plain)
}

fn compressed() -> impl Iterator<Item = Coding> {
    CODINGS.into_iter().map(|(coding, _)| coding).filter(|coding| *coding != Coding::Identity)
}

fn sample() -> Vec<u8> {
    // Neither trivial nor incompressible.
    (0..20_000_u32)
        .flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 20).to_string().into_bytes())
        .collect()
}

#[test]
fn any_chunks_and_any_room() {
    let sample = sample();
    for coding in compressed() {
        let encoded = encode_whole(coding, &sample);
        for (chunk, room) in
            [(1, 32 * 1024), (7, 100), (1000, 1), (encoded.len(), 32 * 1024), (encoded.len(), 17)]
        {
            let chunks: Vec<&[u8]> = encoded.chunks(chunk).collect();
            assert_eq!(decode(coding, &chunks, room).as_ref(), Ok(&sample), "{coding:?} {chunk} {room}");
        }
    }
}

#[test]
fn what_was_flushed_is_given_at_once() {
    for coding in compressed() {
        let (pieces, last) = encode(coding, &[b"data: one\n\n", b"data: two\n\n"]);
        let mut decoder = Decoder::new(coding).unwrap();
        let mut output = vec![0; 1000];
        for (piece, expected) in pieces.iter().zip([&b"data: one\n\n"[..], b"data: two\n\n"]) {
            let mut input = Bytes::copy_from_slice(piece);
            let length = decoder.step(&mut input, &mut output).unwrap();
            assert_eq!((&output[..length], input.len()), (expected, 0), "{coding:?}");
        }
        assert_eq!(decoder.finish(), Err(DecodeError::Truncated(coding)));
        assert_eq!(decoder.step(&mut Bytes::from(last), &mut output), Ok(0));
        assert_eq!(decoder.finish(), Ok(()));
    }
}

#[test]
fn an_empty_body_is_empty() {
    for coding in compressed() {
        assert_eq!(decode(coding, &[], 100), Ok(Vec::new()));
        assert_eq!(decode(coding, &[b""], 100), Ok(Vec::new()));
        assert_eq!(decode(coding, &[&encode_whole(coding, b"")], 100), Ok(Vec::new()), "{coding:?}");
    }
}

#[test]
fn cut_wrong_or_too_long_data_is_an_error() {
    let sample = sample();
    for coding in compressed() {
        let encoded = encode_whole(coding, &sample);
        for cut in [1, 2, 5, encoded.len() / 2, encoded.len() - 1] {
            assert!(decode(coding, &[&encoded[..cut]], 1000).is_err(), "{coding:?} cut at {cut}");
        }
        assert!(decode(coding, &[&encoded, b"!"], 1000).is_err(), "{coding:?} goes on");
        assert!(decode(coding, &[b"this is no such data at all, is it?"], 1000).is_err(), "{coding:?}");
    }
    // One wrong bit is found where there is a checksum.
    let mut encoded = encode_whole(Coding::Gzip, &sample);
    let checksum = encoded.len() - 6;
    encoded[checksum] ^= 1;
    assert_eq!(decode(Coding::Gzip, &[&encoded], 1000), Err(DecodeError::Corrupt(Coding::Gzip)));
}

#[test]
fn several_members_in_a_row() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let (one, two) = (encode_whole(coding, b"one"), encode_whole(coding, b"two"));
        assert_eq!(decode(coding, &[&one, &two], 1000).unwrap(), b"onetwo", "{coding:?}");
        assert_eq!(decode(coding, &[&[one, two].concat()], 2).unwrap(), b"onetwo", "{coding:?}");
    }
}

#[test]
fn a_later_frame_of_zstd_may_have_a_larger_window() {
    let small = encode_whole(Coding::Zstd, b"one");
    let mut context = zstd_safe::CCtx::create();
    context.set_parameter(zstd_safe::CParameter::WindowLog(ZSTD_WINDOW_LOG)).unwrap();
    let mut large = vec![0; 1 << 16];
    let mut target = OutBuffer::around(&mut large[..]);
    let flush = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_flush;
    // Flushed, or the encoder would shrink the window to the size that it knows.
    context.compress_stream2(&mut target, &mut InBuffer::around(b"two"), flush).unwrap();
    context.end_stream(&mut target).unwrap();
    let length = target.pos();
    let mut decoder = Decoder::new(Coding::Zstd).unwrap();
    let mut output = vec![0; 100];
    let mut held = Vec::new();
    for (frame, text) in [(&small[..], b"one"), (&large[..length], b"two")] {
        let written = decoder.step(&mut Bytes::copy_from_slice(frame), &mut output).unwrap();
        assert_eq!(&output[..written], text);
        held.push(decoder.bytes().unwrap());
    }
    // What it holds is known for each frame.
    assert!(held[0] < 4 << 20 && held[1] > 1 << ZSTD_WINDOW_LOG, "{held:?}");
    assert!(held[1] <= Coding::Zstd.most_bytes(), "{held:?}");
}

#[test]
fn deflate_without_the_zlib_wrapper() {
    let sample = sample();
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &sample).unwrap();
    let encoded = encoder.finish().unwrap();
    assert_eq!(decode(Coding::Deflate, &[&encoded[..1], &encoded[1..]], 1000), Ok(sample));
}

#[test]
fn a_huge_zstd_window_is_refused() {
    let mut context = zstd_safe::CCtx::create();
    context.set_parameter(zstd_safe::CParameter::WindowLog(27)).unwrap();
    let mut encoded = vec![0; 1 << 20];
    // Two flushed parts, or the encoder would shrink the window to the size that it knows.
    let mut target = OutBuffer::around(&mut encoded[..]);
    let flush = zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_flush;
    for part in [&b"one"[..], b"two"] {
        context.compress_stream2(&mut target, &mut InBuffer::around(part), flush).unwrap();
    }
    context.end_stream(&mut target).unwrap();
    let length = target.pos();
    assert_eq!(decode(Coding::Zstd, &[&encoded[..length]], 100), Err(DecodeError::Corrupt(Coding::Zstd)));
}

#[test]
fn names_of_codings() {
    assert_eq!(Coding::parse("GZIP"), Some(Coding::Gzip));
    assert_eq!(Coding::parse("x-gzip"), Some(Coding::Gzip));
    assert_eq!(Coding::parse("compress"), None);
    assert_eq!(Coding::parse("dcb"), None);
}
