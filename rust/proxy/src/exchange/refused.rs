//! Why a request gets an answer of ours, and that answer.

use http::Response;
use policy::Reason;

use super::{AnswerBody, Record};
use crate::authority_bind::Misdirected;
use crate::denial::{self, Denial};
use crate::git::{self, Discovery};
use crate::keeper::{OwnRefusal, Unrenewed};
use crate::upstream::UpstreamError;

/// Why a request does not go on.
pub(super) enum Refused {
    Denied(Denial),
    Push(git_push::Report),
    Failed(UpstreamError),
    Unrenewed(Unrenewed),
}

impl Refused {
    /// The answer, put on record; git is told in its own way.
    pub(super) fn response(self, discovery: Option<Discovery>, record: &mut Record) -> Response<AnswerBody> {
        match self {
            Refused::Denied(denial) => {
                record.denied(denial.reason);
                match discovery {
                    Some(discovery) => discovery.refuse(&denial),
                    None => denial.response(&record.asked()),
                }
            }
            Refused::Push(report) => {
                record.denied(report.reason);
                record.rule(report.rule);
                record.refs(report.refs.clone());
                git::report(report)
            }
            Refused::Unrenewed(problem) => {
                record.denied(Reason::CredentialExpired);
                denial::unrenewed(&problem, &record.asked())
            }
            Refused::Failed(error) => {
                record.failed(error.kind());
                denial::upstream_failed(&error, &record.asked())
            }
        }
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Refused {
        Refused::Denied(denial)
    }
}

impl From<git::Refused> for Refused {
    fn from(refused: git::Refused) -> Refused {
        match refused {
            git::Refused::Denied(denial) => Refused::Denied(denial),
            git::Refused::Reported(report) => Refused::Push(report),
        }
    }
}

impl From<Unrenewed> for Refused {
    fn from(problem: Unrenewed) -> Refused {
        Refused::Unrenewed(problem)
    }
}

impl From<OwnRefusal> for Refused {
    fn from(refusal: OwnRefusal) -> Refused {
        match refusal {
            OwnRefusal::Reason(reason) => Refused::Denied(reason.into()),
            OwnRefusal::Unrenewed(problem) => Refused::Unrenewed(problem),
        }
    }
}

impl From<Misdirected> for Refused {
    fn from(wrong: Misdirected) -> Refused {
        Refused::Denied(Denial { status: wrong.status, reason: wrong.reason, hint: Some(wrong.hint) })
    }
}

impl From<UpstreamError> for Refused {
    fn from(error: UpstreamError) -> Refused {
        match error {
            UpstreamError::PrivateAddress(_) => Refused::Denied(Reason::PrivateAddress.into()),
            UpstreamError::DeniedAddress(_) => Refused::Denied(Denial {
                hint: Some("the name resolves to an address that a rule denies"),
                ..Reason::DeniedByRule.into()
            }),
            UpstreamError::TooMany => Refused::Denied(Reason::TooMany.into()),
            UpstreamError::Memory => Refused::Denied(Reason::ProxyMemory.into()),
            error => Refused::Failed(error),
        }
    }
}
