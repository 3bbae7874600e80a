//! What is decided about a request before it becomes a task: whether there is memory for it.

use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use policy::{Reason, Scheme};
use tokio::sync::OwnedSemaphorePermit;

use crate::body::{Admitted, Flow, HeldHead, ResponseBody, discard, hold_with_head};
use crate::budget::{Admission, Waiter};
use crate::denial::Denial;
use crate::job::Job;
use crate::record::Record;
use crate::rejection;

/// A request whose head has just been read.
pub(crate) struct Arrival {
    job: Arc<Job>,
    state: State,
}

enum State {
    Admitted(Request<Incoming>, Arc<Admitted>),
    Waiting(Request<Incoming>, Waiter, OwnedSemaphorePermit, Box<Record>),
    Refused(Refusal),
}

impl Arrival {
    /// Decides at once: the head of a refused request is gone when this returns. `server` is whom it is for, as far as it is
    /// known.
    pub(crate) fn new(job: &Arc<Job>, scheme: Scheme, server: &str, request: Request<Incoming>) -> Arrival {
        let record = || {
            let mut record = Record::begin(job.clone(), scheme, &request);
            record.named(server);
            record
        };
        if request.method() == Method::CONNECT && request.version() < Version::HTTP_2 {
            // The connection is charged already, and becomes another one when this is answered.
            return Arrival {
                job: job.clone(),
                state: State::Admitted(request, Admitted::with_connection()),
            };
        }
        let state = match job.requests.clone().try_acquire_owned() {
            Err(_) => State::Refused(refuse(record(), request, Reason::TooMany)),
            Ok(place) => match job.budget.admit(&request) {
                Admission::Admitted(memory) => State::Admitted(request, Admitted::new(place, memory)),
                Admission::Queued(waiter) => {
                    let record = Box::new(record());
                    State::Waiting(request, waiter, place, record)
                }
                Admission::Refused => State::Refused(refuse(record(), request, Reason::ProxyMemory)),
            },
        };
        Arrival { job: job.clone(), state }
    }

    /// Has it answered by `answer` as soon as it is admitted. Its grant is held until the answer is written: by the body, by
    /// the head in HTTP/2, and in HTTP/1 by what is returned beside it.
    pub(crate) async fn answered<F, A>(self, answer: F) -> (Response<ResponseBody>, Option<HeldHead>)
    where
        F: FnOnce(Request<Incoming>, Arc<Admitted>) -> A,
        A: Future<Output = Response<ResponseBody>>,
    {
        let job = self.job;
        let (request, admitted) = match self.state {
            State::Admitted(request, admitted) => (request, admitted),
            State::Waiting(request, waiter, place, record) => match waiter.admitted(job.limits.dial).await {
                Some(memory) => {
                    record.forget();
                    (request, Admitted::new(place, memory))
                }
                None => return (refuse(*record, request, Reason::ProxyMemory).sent().await, None),
            },
            State::Refused(refusal) => return (refusal.sent().await, None),
        };
        let is_http2 = request.version() == Version::HTTP_2;
        let flow = Flow::new(&job.budget, Some(admitted.clone()));
        let mut response = answer(request, admitted.clone()).await.map(|body| body.through(flow));
        let head = HeldHead::new(admitted, response.body_mut().take_head());
        if is_http2 {
            hold_with_head(response.headers_mut(), head);
            return (response, None);
        }
        (response, Some(head))
    }
}

/// The answer to a request that goes nowhere.
struct Refusal {
    response: Response<ResponseBody>,
    /// The body of the request.
    rest: Option<Incoming>,
}

impl Refusal {
    async fn sent(self) -> Response<ResponseBody> {
        discard(self.rest).await;
        self.response
    }
}

/// Records a request that goes nowhere.
fn refuse(mut record: Record, request: Request<Incoming>, reason: Reason) -> Refusal {
    record.denied(reason);
    let mut response = rejection::denied(&Denial::from(reason), &record.asked());
    record.answered(response.status());
    if request.version() == Version::HTTP_2 {
        // Without a body: a job that reads nothing would have it held for ever.
        return Refusal { response: response.map(|_| ResponseBody::empty()), rest: None };
    }
    // The connection itself is memory, and what follows the head may be a body that nobody reads.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    *response.version_mut() = Version::HTTP_11;
    Refusal { response, rest: Some(request.into_body()) }
}
