//! Bodies on their way through the proxy: read no faster than the other side takes them, and charged to the job's budget.

mod copy;
mod flow;
mod form;
mod held;
mod request;
mod response;
mod under_way;

pub(crate) use flow::Flow;
pub(crate) use form::{FormScan, METHODS, UnclearForm};
pub(crate) use held::{hold_with_head, hold_with_target};
pub(crate) use request::{RequestBody, Unread, discard};
pub(crate) use response::ResponseBody;
pub(crate) use under_way::{Admitted, HeldHead, UnderWay};
