//! A server whose answers a test makes itself, chunk by chunk.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::body::Incoming;

use super::identity::Identity;
use super::routes::credential;
use super::{Answered, Server, State};

impl Server {
    /// Serves `host` with TLS. `answer` knows the request's head and the credential in it; each piece of the body that
    /// it gives is sent for itself.
    pub(crate) fn answering(
        host: &str,
        answer: impl Fn(&Parts, &str) -> Response<Vec<Bytes>> + Send + Sync + 'static,
    ) -> Server {
        let answer = Arc::new(answer);
        let answer = move |state: Arc<State>, request: Request<Incoming>, number: usize| -> Answered {
            let answer = answer.clone();
            Box::pin(async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                state.requests.lock().unwrap()[number].body = body.len();
                let (answer, pieces) = answer(&head, &credential(&head.headers)).into_parts();
                let (mut sender, channel) = Channel::new(1);
                tokio::spawn(async move {
                    for piece in pieces {
                        if sender.send_data(piece).await.is_err() {
                            return;
                        }
                    }
                });
                Response::from_parts(answer, channel.boxed())
            })
        };
        Server::start(&[host], Some(Identity::new(&[host], &[b"h2", b"http/1.1"])), Arc::new(answer))
    }
}
