//! Keeps secrets fresh while the job runs: reads them again when they are stale or refused, renews logins before they
//! expire. The dummies of the job stay the same.
//!
//! A credential has one turn: of many requests that find it stale or refused, one reads and the others wait for what it
//! finds. Reading happens on threads of its own, as a keychain or a command may take its time.

mod broker;
mod own_refresh;
mod unstored;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use policy::{Authority, Policy};
use secrecy::ExposeSecret;
use tokio::sync::Mutex as Turn;
use tokio::time::timeout;

use crate::config::{Credential, Held, OAuth, Origin, Source};
use crate::swap::{Vault, VaultError};
use crate::upstream::Upstream;

use unstored::Unstored;

pub(crate) use own_refresh::{OwnRefusal, own_refresh};

/// How long a request waits for a stale secret to be read again before it goes out with the one that is known.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long before its end a login is renewed, if it lasts much longer than that.
const MARGIN: Duration = Duration::from_secs(300);
/// How soon a source is asked again, at the earliest, that brought nothing new or failed: a job can send refused requests
/// without end.
const PAUSE: Duration = Duration::from_secs(5);
/// The same at the latest, for what is renewed ahead of time, and for what has just been renewed.
const LONG_PAUSE: Duration = Duration::from_secs(60);
/// How soon a login is renewed again at the earliest, however short the lifetime that the server states.
const MIN_RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// How long the end of a job waits for a renewal: a login whose new tokens are not stored is lost. Longer than the token
/// server may take to answer.
const SETTLE: Duration = Duration::from_secs(45);

/// The job's credentials as they are now.
pub(crate) struct Keeper {
    vault: Mutex<Arc<Vault>>,
    /// By the credential's position in the vault; none for one that never changes.
    live: Vec<Option<Arc<Live>>>,
    upstream: Arc<Upstream>,
    policy: Arc<Policy>,
}

/// A credential that can change.
struct Live {
    name: String,
    source: Arc<dyn Source>,
    oauth: Option<OAuth>,
    /// Held by who reads or renews.
    turn: Turn<()>,
    known: Mutex<Known>,
    /// A renewed login that could not be stored yet.
    unstored: Turn<Option<Unstored>>,
}

/// What is known of a secret.
struct Known {
    held: Held,
    read: Instant,
    /// From when on a login is to be renewed.
    due: Option<SystemTime>,
    /// When a login was renewed last.
    renewed: Option<Instant>,
    /// The last attempt that brought nothing new, and what was wrong if anything was.
    in_vain: Option<(Instant, Option<Unrenewed>)>,
}

/// Why a request needs more than what is known.
#[derive(Clone)]
enum Need {
    /// It may have changed, or will expire soon.
    Fresh,
    /// A server refused this one.
    Refused(Refused),
}

/// A secret that a server refused, by the request's beginning.
#[derive(Clone)]
struct Refused {
    held: Held,
    sent: Instant,
}

/// Why a login cannot be used any more. The text is for the job to read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Unrenewed {
    #[error("The login behind {name} has ended and cannot be renewed ({why}). Do not retry. {cure}")]
    Ended { name: String, why: String, cure: String },
    #[error(
        "The login behind {name} is refused, and it could not be renewed: {why}. Try again later, or ask the operator to \
         log in again."
    )]
    Failed { name: String, why: String },
}

impl Keeper {
    pub(crate) fn new(
        credentials: Vec<Credential>,
        upstream: Arc<Upstream>,
        policy: Arc<Policy>,
    ) -> Result<Keeper, VaultError> {
        let live = credentials.iter().map(|credential| Live::new(credential).map(Arc::new)).collect();
        Ok(Keeper { vault: Mutex::new(Arc::new(Vault::new(credentials)?)), live, upstream, policy })
    }

    /// Whether a credential of this host can change.
    pub(crate) fn can_change(&self, authority: &Authority) -> bool {
        self.live_of(authority).next().is_some()
    }

    /// The credentials for a request to this host, read again where they are due.
    pub(crate) async fn fresh(self: &Arc<Self>, authority: &Authority) -> Arc<Vault> {
        for (index, live) in self.live_of(authority) {
            if live.needs(&Need::Fresh) {
                // An error shows when the server refuses what is known.
                let _ = timeout(PATIENCE, self.renew(index, Need::Fresh)).await;
            }
        }
        self.vault()
    }

    /// A server refused a request that carried these credentials of `vault`. The credentials to try again with, if there
    /// are others by now.
    pub(crate) async fn refused(
        self: &Arc<Self>,
        vault: &Arc<Vault>,
        names: &[String],
        sent: Instant,
    ) -> Result<Option<Arc<Vault>>, Unrenewed> {
        let mut changed = false;
        for (index, live) in self.live().filter(|(_, live)| names.contains(&live.name)) {
            let held = Held { secret: vault.secret(index), ..live.known().held.clone() };
            let need = Need::Refused(Refused { held, sent });
            if live.needs(&need) {
                self.renew(index, need.clone()).await?;
            }
            changed |= live.has_other(&need)?;
        }
        Ok(changed.then(|| self.vault()))
    }

    /// Waits for renewals under way.
    pub(crate) async fn settle(&self) {
        let turns = async {
            for (_, live) in self.live() {
                drop(live.turn.lock().await);
                live.store_at_last().await;
            }
        };
        if timeout(SETTLE, turns).await.is_err() {
            tracing::warn!(
                "the job ended while a login was being renewed or stored: if it is refused from now on, log in again"
            );
        }
    }

    /// The credentials as they are.
    pub(crate) fn vault(&self) -> Arc<Vault> {
        self.vault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn live(&self) -> impl Iterator<Item = (usize, &Live)> {
        self.live.iter().enumerate().filter_map(|(index, live)| Some((index, live.as_deref()?)))
    }

    fn live_of(&self, authority: &Authority) -> impl Iterator<Item = (usize, &Live)> {
        let own = self.vault().own(authority);
        self.live().filter(move |(index, _)| own.contains(index))
    }

    /// In a task of its own: a request that its client gives up must not stop a renewal half-way.
    async fn renew(self: &Arc<Self>, index: usize, need: Need) -> Result<(), Unrenewed> {
        let keeper = self.clone();
        let task = tokio::spawn(async move {
            match &keeper.live[index] {
                Some(live) => live.renew(&keeper, index, &need).await,
                None => Ok(()),
            }
        });
        // The task is gone only when the whole proxy is.
        task.await.unwrap_or(Ok(()))
    }

    fn adopt(&self, index: usize, held: &Held) -> Result<(), VaultError> {
        let mut vault = self.vault.lock().unwrap_or_else(PoisonError::into_inner);
        *vault = Arc::new(vault.renewed(index, held)?);
        Ok(())
    }
}

impl Live {
    fn new(credential: &Credential) -> Option<Live> {
        let (source, oauth) = match &credential.origin {
            Origin::Fixed => return None,
            Origin::Source(source) => (source.clone(), None),
            Origin::Login(source, oauth) => (source.clone(), Some(oauth.clone())),
        };
        // Of a login more is to be known than its token: it counts as stale from the start.
        let held = Held { secret: credential.secret.clone(), refresh: None, expires: None };
        let read = Instant::now();
        let read = if oauth.is_some() { read.checked_sub(source.lifetime()).unwrap_or(read) } else { read };
        let known = Mutex::new(Known { held, read, due: None, renewed: None, in_vain: None });
        let (turn, unstored) = (Turn::new(()), Turn::new(None));
        Some(Live { name: credential.name.clone(), source, oauth, turn, known, unstored })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn needs(&self, need: &Need) -> bool {
        let known = self.known();
        let paused = |pause| known.in_vain.as_ref().is_some_and(|(when, _)| when.elapsed() < pause);
        match need {
            Need::Fresh if paused(if self.oauth.is_some() { LONG_PAUSE } else { self.pause() }) => false,
            Need::Fresh => known.read.elapsed() >= self.source.lifetime() || is_past(known.due),
            Need::Refused(_) if paused(self.pause()) => false,
            // What was read after the request had begun is an answer to it; a login can be renewed all the same.
            Need::Refused(refused) => {
                same(&known.held, &refused.held) && (self.oauth.is_some() || known.read <= refused.sent)
            }
        }
    }

    /// How soon the source is asked again in vain: less often where that may be a question to somebody (a keychain that is
    /// to be unlocked, a key that is to be touched).
    fn pause(&self) -> Duration {
        self.source.lifetime().clamp(PAUSE, LONG_PAUSE)
    }

    /// Whether there is another secret than the one refused; an error if there should be and cannot be.
    fn has_other(&self, need: &Need) -> Result<bool, Unrenewed> {
        let Need::Refused(refused) = need else { return Ok(false) };
        let known = self.known();
        match &known.in_vain {
            _ if !same(&known.held, &refused.held) => Ok(true),
            Some((_, Some(problem))) if self.oauth.is_some() => Err(problem.clone()),
            _ => Ok(false),
        }
    }

    /// From when on this is to be renewed. A token that lasts a minute is not renewed for every request.
    fn due(&self, held: &Held) -> Option<SystemTime> {
        let known = self.known();
        if same(&known.held, held) && known.due.is_some() {
            return known.due;
        }
        let expires = held.expires.filter(|_| self.oauth.is_some())?;
        let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
        expires.checked_sub(MARGIN.min(left / 4))
    }

    async fn renew(self: &Arc<Self>, keeper: &Keeper, index: usize, need: &Need) -> Result<(), Unrenewed> {
        let _turn = self.turn.lock().await;
        // Somebody else may have done it meanwhile.
        if !self.needs(need) {
            return self.has_other(need).map(drop);
        }
        let (before, began) = (self.known().held.clone(), Instant::now());
        let outcome = self.look(keeper, need).await.and_then(|held| {
            if !same(&held, &before) {
                keeper.adopt(index, &held).map_err(|error| self.failed(error.to_string()))?;
                tracing::debug!(credential = self.name, "the secret has changed");
            }
            Ok((self.due(&held), held))
        });
        let mut known = self.known();
        let problem = match outcome {
            Ok((due, held)) => {
                known.read = began;
                known.due = due;
                known.held = held;
                None
            }
            Err(problem) => {
                tracing::warn!(credential = self.name, %problem, "the secret could not be renewed");
                Some(problem)
            }
        };
        let is_new = !same(&known.held, &before);
        let wanted = problem.is_some() || matches!(need, Need::Refused(_));
        known.in_vain = (wanted && !is_new).then(|| (Instant::now(), problem.clone()));
        // Without a login to renew, what the server said is the best answer.
        match problem {
            Some(problem) if self.oauth.is_some() => Err(problem),
            _ => Ok(()),
        }
    }

    /// What the source holds, or a renewed login if that is of no use.
    async fn look(self: &Arc<Self>, keeper: &Keeper, need: &Need) -> Result<Held, Unrenewed> {
        let held = self.read().await?;
        let is_refused = matches!(need, Need::Refused(refused) if same(&held, &refused.held));
        // A new one is not refused for its age: renewed again and again, it would be at the job's will.
        let renewed = self.known().renewed.map(|when| when.elapsed());
        let is_younger_than = |age| renewed.is_some_and(|elapsed| elapsed < age);
        let is_due = is_past(self.due(&held)) && !is_younger_than(MIN_RENEWAL_INTERVAL);
        match &self.oauth {
            Some(oauth) if (is_refused && !is_younger_than(LONG_PAUSE)) || is_due => {
                let held = broker::renew(self, oauth, keeper, held).await?;
                self.known().renewed = Some(Instant::now());
                Ok(held)
            }
            _ => Ok(held),
        }
    }

    async fn read(&self) -> Result<Held, Unrenewed> {
        if let Some(unstored) = &*self.unstored.lock().await {
            return Ok(unstored.new.clone());
        }
        let source = self.source.clone();
        self.apart(move || source.read()).await
    }

    /// Does what may block. What went wrong is for the operator: it names places of the host.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, Unrenewed> {
        let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
        done.map_err(|why| {
            tracing::warn!(credential = self.name, why, "the place of the secret cannot be used");
            self.failed("its place on the host cannot be used".to_owned())
        })
    }

    fn failed(&self, why: String) -> Unrenewed {
        Unrenewed::Failed { name: self.name.clone(), why }
    }
}

fn same(one: &Held, other: &Held) -> bool {
    one.secret.expose_secret() == other.secret.expose_secret()
}

fn is_past(time: Option<SystemTime>) -> bool {
    time.is_some_and(|time| time <= SystemTime::now())
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
