//! Bodies of requests that are signed again.

use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderMap, Uri};
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
    // Waits while others are read: what is held of all of them is bounded.
    let place = Arc::clone(&job.whole_bodies).acquire_owned().await.map_err(|_| Reason::TooMany)?;
    let mut read = BytesMut::new();
    while let Some(frame) = timeout(job.limits.idle, body.frame()).await.map_err(|_| Reason::TooLarge)? {
        let frame = frame.map_err(|_| Reason::MalformedRequest)?;
        // Trailers are no part of what is signed, and no AWS service asks for them.
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > WHOLE {
            discard(body.into_rest()).await;
            return Err(Denial { hint: Some(TOO_LONG), ..Reason::TooLarge.into() });
        }
        read.extend_from_slice(&data);
    }
    resigning.finish(&sha256(&read), headers, uri)?;
    body.put_back(read.freeze(), place);
    Ok(body)
}

const TOO_LONG: &str =
    "A body of more than 16 MiB must say its hash in x-amz-content-sha256, as requests to S3 do.";
