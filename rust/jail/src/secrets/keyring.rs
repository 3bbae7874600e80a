//! The platform's keychain: the macOS Keychain, the Secret Service on Linux.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use keyring::v1::{Entry, Error};
use zeroize::Zeroizing;

use super::{Bytes, Miss};

/// Where a secret can be on a machine without a keychain.
pub(super) const ALTERNATIVES: &str = if cfg!(target_os = "macos") {
    "command:/usr/bin/security find-generic-password -w -s SERVICE (over SSH after `security unlock-keychain`), \
     file:PATH (mode 600) or env:VAR"
} else {
    "file:PATH (mode 600), command:PROGRAM (e.g. `pass show NAME`), systemd:NAME or env:VAR"
};

/// Reads one item.
pub(super) fn read(service: &str, account: &str, time_limit: Duration) -> Result<Bytes, Miss> {
    let (service, account) = (service.to_owned(), account.to_owned());
    within(time_limit, move || ask(&service, &account))
}

/// Writes one item, in the place of one of the same name.
pub(super) fn write(service: &str, account: &str, secret: &[u8], time_limit: Duration) -> Result<(), Miss> {
    let (service, account, secret) =
        (service.to_owned(), account.to_owned(), Zeroizing::new(secret.to_vec()));
    within(time_limit, move || on(&service, &account, |entry| entry.set_secret(&secret)))
}

/// Removes one item.
pub(super) fn remove(service: &str, account: &str, time_limit: Duration) -> Result<(), Miss> {
    let (service, account) = (service.to_owned(), account.to_owned());
    within(time_limit, move || on(&service, &account, Entry::delete_credential))
}

/// Whether there is a keychain that answers.
pub(super) fn probe(time_limit: Duration) -> Result<(), Miss> {
    // An item that nobody has: to look it up needs no unlocking.
    match read("nix-jail", "jail doctor", time_limit) {
        Err(Miss::Absent(_)) if Entry::store_status().is_ok() => Ok(()),
        other => other.map(drop),
    }
}

/// On a thread of its own: a locked keychain may ask somebody who is not there, and the call cannot be cancelled.
fn within<T: Send + 'static>(
    time_limit: Duration,
    question: impl FnOnce() -> Result<T, Miss> + Send + 'static,
) -> Result<T, Miss> {
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || {
        let _ = sender.send(question());
    });
    answer.recv_timeout(time_limit).unwrap_or_else(|error| {
        Err(unusable(match error {
            RecvTimeoutError::Timeout => {
                format!(
                    "the keychain did not answer within {} s (it may be locked)",
                    time_limit.as_secs_f32()
                )
            }
            RecvTimeoutError::Disconnected => "the keychain's client failed".to_owned(),
        }))
    })
}

fn unusable(what: String) -> Miss {
    Miss::broken(what, format!("unlock it, or keep the secret elsewhere: {ALTERNATIVES}"))
}

fn ask(service: &str, account: &str) -> Result<Bytes, Miss> {
    on(service, account, Entry::get_secret).map(Zeroizing::new)
}

fn on<T>(
    service: &str,
    account: &str,
    act: impl FnOnce(&Entry) -> keyring::v1::Result<T>,
) -> Result<T, Miss> {
    if let Err(error) = Entry::store_status() {
        // Headless machines have none: the next source is asked.
        return Err(Miss::Absent(format!("no keychain is running here ({error})")));
    }
    match Entry::new(service, account).and_then(|entry| act(&entry)) {
        Ok(done) => Ok(done),
        Err(Error::NoEntry) => Err(Miss::Absent(format!("the keychain has no item of account {account:?}"))),
        Err(Error::NoStorageAccess(error)) => {
            Err(unusable(format!("the keychain is locked or refuses: {error}")))
        }
        Err(Error::Ambiguous(_)) => Err(Miss::broken(
            "the keychain has several such items",
            "name the account too: keyring:SERVICE/ACCOUNT",
        )),
        // Some variants carry the secret's bytes: their texts are not passed on.
        Err(Error::BadEncoding(_) | Error::BadDataFormat(..)) => {
            Err(Miss::broken("the keychain's item is damaged", "store the secret again"))
        }
        Err(error) => Err(unusable(format!("the keychain failed: {error}"))),
    }
}
