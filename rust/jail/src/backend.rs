//! Who makes the jail.

use sandbox::backend::Backend;
use sandbox::backend::native::Native;

use crate::spec::BackendName;

/// The backend of that name. `auto` is the platform's default, also where that one is unavailable.
pub(crate) fn choose(name: BackendName) -> Box<dyn Backend> {
    match name {
        BackendName::Auto | BackendName::Native => Box::new(Native),
    }
}
