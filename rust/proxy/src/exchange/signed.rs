//! Bodies of requests that are signed again.

use bytes::BytesMut;
use http::{HeaderMap, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use policy::Reason;
use tokio::time::timeout;

use super::RequestBody;
use super::body::discard;
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
    let most = WHOLE.min(bulk.bytes() / 2);
    // A body that does not say its length may be as long as any.
    let length = body.size_hint().upper().and_then(|length| usize::try_from(length).ok());
    let needs = length.unwrap_or(most).min(most);
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

const TOO_LONG: &str = "A body that is too long to be read whole (see limits.proxyMemory) must say its hash in x-amz-content-sha256, as requests to S3 do.";
