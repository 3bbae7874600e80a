//! Where a job runs.
//!
//! A [`Plan`](plan::Plan) says what a jail looks like; a [`Backend`](backend::Backend) makes it. Making has two
//! steps: `prepare` makes the namespaces and hands out the listening sockets that were bound inside, `release`
//! lets the job's command start. No job code runs before the second.

pub mod backend;
pub mod plan;
