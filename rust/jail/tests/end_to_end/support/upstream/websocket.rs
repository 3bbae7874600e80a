//! A WebSocket server of short text messages (RFC 6455), by hand: what a proxy must carry, and no more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::AnswerBody;
use super::routes::whole;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;

/// Upgrades; sends `greeting` first, then each message back until the client closes.
pub(super) fn accept(request: Request<Incoming>, greeting: String) -> Response<AnswerBody> {
    let mut response = whole(Bytes::new());
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let _ = converse(TokioIo::new(upgraded), greeting).await;
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept_key(key.as_bytes()).parse().unwrap());
    response
}

fn accept_key(key: &[u8]) -> String {
    let hash = Sha1::digest([key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat());
    STANDARD.encode(hash)
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, greeting: String) -> std::io::Result<()> {
    stream.write_all(&frame(TEXT, greeting.as_bytes())).await?;
    loop {
        let (kind, message) = read_frame(&mut stream).await?;
        stream.write_all(&frame(kind, &message)).await?;
        if kind == CLOSE {
            return stream.shutdown().await;
        }
    }
}

fn frame(kind: u8, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("the tests' messages are short");
    let mut frame = vec![kind];
    match u8::try_from(length) {
        Ok(short) if short < 126 => frame.push(short),
        _ => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(message);
    frame
}

/// A client's frame is masked.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await?;
    let length = match stream.read_u8().await? & 0x7f {
        126 => usize::from(stream.read_u16().await?),
        short => usize::from(short),
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    message.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok((kind, message))
}
