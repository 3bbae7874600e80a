use std::time::Duration;

use super::*;
use crate::config;

/// A place that is asked again after this long, if nothing happens.
struct Lasting(Duration);

impl Source for Lasting {
    fn lifetime(&self) -> Duration {
        self.0
    }

    fn read(&self) -> Result<Held, String> {
        Err("not here".to_owned())
    }

    fn turn(&self) -> Result<Box<dyn config::Turn>, String> {
        Err("not here".to_owned())
    }
}

fn live(lifetime: u64) -> Live {
    Live {
        name: "T".to_owned(),
        source: Arc::new(Lasting(Duration::from_secs(lifetime))),
        oauth: None,
        turn: Turn::new(()),
        known: Mutex::new(Known { held: held(), read: ago(0), due: None, renewed: None, in_vain: None }),
        unstored: Turn::new(None),
    }
}

fn held() -> Held {
    Held { secret: "a-secret".to_owned().into(), refresh: None, expires: None }
}

fn ago(seconds: u64) -> Instant {
    Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
}

#[test]
fn a_place_that_may_ask_its_owner_is_not_asked_at_the_jobs_will() {
    let refused = || Need::Refused(Refused { held: held(), sent: Instant::now() });
    for (lifetime, in_vain, asked) in [
        (1, None, true),
        (1, Some(3), false),
        (1, Some(10), true),
        // A command or a keychain, with somebody in front of it.
        (300, None, true),
        (300, Some(10), false),
        (300, Some(70), true),
        (3600, Some(10), false),
    ] {
        let live = live(lifetime);
        live.known().in_vain = in_vain.map(|seconds| (ago(seconds), None));
        assert_eq!(live.needs(&refused()), asked, "{lifetime} {in_vain:?}");
    }
}
