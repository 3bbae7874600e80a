//! Bodies of requests that are signed again.

use bytes::BytesMut;
use http::{HeaderMap, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use policy::Reason;
use tokio::time::timeout;

use crate::body::{RequestBody, discard};
use crate::denial::Denial;
use crate::job::Job;
use crate::swap::aws::{Signing, sha256};

/// The longest body whose hash is signed and not said: what AWS services take in one such request is less.
const WHOLE: usize = 16 * 1024 * 1024;

/// The body as it is sent on; headers and URI get the signature, if the body decides about it.
pub(super) async fn signed(
    job: &Job,
    mut body: RequestBody,
    signing: Signing,
    headers: &mut HeaderMap,
    uri: &mut Uri,
) -> Result<RequestBody, Denial> {
    let resigning = match signing {
        Signing::Chunks(chunks) => return Ok(body.signing(chunks)),
        Signing::Whole(resigning) => resigning,
    };
    let bulk = job.budget.bulk();
    let needs = match needs(body.size_hint().upper(), bulk.bytes()) {
        Ok(needs) => needs,
        Err(denial) => {
            discard(body.into_rest()).await;
            return Err(denial);
        }
    };
    // Waits while others are read.
    let grant = bulk.reserve(needs, job.limits.dial).await.ok_or(Reason::ProxyMemory)?;
    let mut read = BytesMut::new();
    while let Some(frame) = timeout(job.limits.idle, body.frame()).await.map_err(|_| Reason::TooLarge)? {
        let frame = frame.map_err(|_| Reason::MalformedRequest)?;
        // Trailers are no part of what is signed, and no AWS service asks for them.
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > needs {
            discard(body.into_rest()).await;
            return Err(Denial { hint: Some(TOO_LONG), ..Reason::TooLarge.into() });
        }
        read.extend_from_slice(&data);
    }
    resigning.finish(&sha256(&read), headers, uri)?;
    body.put_back(read.freeze(), grant);
    Ok(body)
}

/// What reading a body takes, of what the proxy has for all.
fn needs(length: Option<u64>, memory: usize) -> Result<usize, Denial> {
    let most = WHOLE.min(memory);
    // It may be as long as any.
    let Some(length) = length else { return Ok(most.min(memory / 2)) };
    match usize::try_from(length) {
        Ok(length) if length <= most => Ok(length),
        Ok(..=WHOLE) => Err(Denial { hint: Some(NO_MEMORY), ..Reason::ProxyMemory.into() }),
        _ => Err(Denial { hint: Some(TOO_LONG), ..Reason::TooLarge.into() }),
    }
}

const NO_MEMORY: &str = "The body is longer than what the job's proxy may hold (see limits.proxyMemory); raise that, or say the body's hash in x-amz-content-sha256.";
const TOO_LONG: &str = "A body that is too long to be read whole (see limits.proxyMemory) must say its hash in x-amz-content-sha256, as requests to S3 do.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reading_a_body_takes() {
        const MIB: usize = 1 << 20;
        for (length, memory, expected) in [
            (Some(0), 17 * MIB, Ok(0)),
            (Some(9 * MIB), 17 * MIB, Ok(9 * MIB)),
            (Some(WHOLE), 17 * MIB, Ok(WHOLE)),
            (Some(WHOLE + 1), 17 * MIB, Err(Reason::TooLarge)),
            (Some(4 * MIB), 4 * MIB, Ok(4 * MIB)),
            (Some(4 * MIB + 1), 4 * MIB, Err(Reason::ProxyMemory)),
            (Some(WHOLE + 1), 4 * MIB, Err(Reason::TooLarge)),
            (None, 17 * MIB, Ok(17 * MIB / 2)),
            (None, 100 * MIB, Ok(WHOLE)),
        ] {
            let length_said = length.map(|length| length as u64);
            let found = needs(length_said, memory).map_err(|denial| denial.reason);
            assert_eq!(found, expected, "{length:?} of {memory}");
        }
    }
}
