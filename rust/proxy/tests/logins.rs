//! Logins that the proxy renews. (How they are stored is tested where the sources are, all of it end to end in jails.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use policy::Authority;
use proxy::config::{Credential, Held, OAuth, Origin, Source, Turn};
use secrecy::ExposeSecret;
use serde_json::json;
use support::*;

const DUMMY: &str = "sk-test-dummy-dummy-dummy-dummy-dummy-0001";

/// A place that holds one login.
#[derive(Clone)]
struct Store(Arc<Mutex<Held>>, Arc<AtomicUsize>);

impl Store {
    fn new() -> Store {
        Store(Arc::new(Mutex::new(pair(0))), Arc::default())
    }

    /// Makes the next attempts to store a login fail.
    fn fail(&self, attempts: usize) {
        self.1.store(attempts, Ordering::SeqCst);
    }

    fn is_renewed(&self) -> bool {
        self.read().unwrap().secret.expose_secret() == pair(1).secret.expose_secret()
    }

    /// What the program does that the login is of.
    fn put(&self, held: Held) {
        *self.0.lock().unwrap() = held;
    }

    fn credential(&self) -> Credential {
        let oauth = OAuth {
            authority: Authority::parse("login.test:443", None).unwrap(),
            path: "/token".into(),
            client_id: "client".into(),
            refresh_dummy: "rt-test-dummy-dummy-dummy-dummy-dummy-0001".into(),
            cure: "log in again".into(),
        };
        let origin = Origin::Login(Arc::new(self.clone()), oauth);
        Credential { origin, ..token(DUMMY, pair(0).secret.expose_secret()) }
    }
}

impl Source for Store {
    fn lifetime(&self) -> Duration {
        Duration::ZERO
    }

    fn read(&self) -> Result<Held, String> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn turn(&self) -> Result<Box<dyn Turn>, String> {
        Ok(Box::new(self.clone()))
    }
}

impl Turn for Store {
    fn replace(&mut self, old: &Held, new: &Held) -> Result<bool, String> {
        if self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("the disk is full".into());
        }
        let mut held = self.0.lock().unwrap();
        let is_old = held.secret.expose_secret() == old.secret.expose_secret();
        if is_old {
            *held = new.clone();
        }
        Ok(is_old)
    }
}

fn pair(generation: usize) -> Held {
    Held {
        secret: format!("sk-test-secretsecretsecret-{generation:015}").into(),
        refresh: Some(format!("rt-test-secretsecretsecret-{generation:015}").into()),
        expires: None,
    }
}

/// Gives a new pair to whoever asks.
async fn token_server() -> Server {
    token_server_with(json!(3600)).await
}

async fn token_server_with(expires_in: serde_json::Value) -> Server {
    let generation = Arc::new(AtomicUsize::new(0));
    Server::https_with(&["login.test"], &["h2"], move |_| {
        let new = pair(generation.fetch_add(1, Ordering::SeqCst) + 1);
        let expires_in = expires_in.clone();
        async move {
            let refresh = new.refresh.unwrap();
            let tokens = json!({
                "access_token": new.secret.expose_secret(),
                "refresh_token": refresh.expose_secret(),
                "expires_in": expires_in,
            });
            text(&tokens.to_string())
        }
    })
    .await
}

/// Welcomes nothing but the token of one generation.
fn welcoming(
    generation: usize,
) -> impl Fn(Request<Incoming>) -> std::future::Ready<Answer> + Clone + Send + Sync + 'static {
    move |request| {
        let expected = format!("Bearer {}", pair(generation).secret.expose_secret());
        let mut answer = text("");
        if request.headers()["authorization"] != expected.as_str() {
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
        }
        std::future::ready(answer)
    }
}

fn jail(store: &Store, server: &Server, logins: &Server) -> Jail {
    Jail::allow(&["a.test"])
        .to("a.test:443", server)
        .to("login.test:443", logins)
        .credential(store.credential())
        .start()
}

async fn ask(jail: &Jail) -> u16 {
    let request = Request::get("https://a.test/").header("authorization", format!("Bearer {DUMMY}"));
    jail.send(request.body(Full::<Bytes>::default()).unwrap(), "h2").await.status
}

#[tokio::test]
async fn a_login_that_is_refused_is_renewed() {
    let (store, logins) = (Store::new(), token_server().await);
    let server = Server::https_with(&["a.test"], &["h2"], welcoming(1)).await;
    let jail = jail(&store, &server, &logins);
    assert_eq!((ask(&jail).await, ask(&jail).await), (200, 200));
    assert_eq!((logins.requests(), server.requests()), (1, 3));
    assert_eq!(store.read().unwrap().secret.expose_secret(), pair(1).secret.expose_secret());
}

#[tokio::test]
async fn a_job_cannot_have_a_login_renewed_as_often_as_it_likes() {
    let (store, logins) = (Store::new(), token_server().await);
    // A job finds a path that answers so whatever the token is.
    let server = Server::https_with(&["a.test"], &["h2"], welcoming(usize::MAX)).await;
    let jail = jail(&store, &server, &logins);
    for _ in 0..4 {
        assert_eq!(ask(&jail).await, 401);
    }
    assert_eq!(logins.requests(), 1);
}

#[tokio::test]
async fn a_login_that_somebody_else_has_made_is_found_all_the_same() {
    let (store, logins) = (Store::new(), token_server().await);
    let server = Server::https_with(&["a.test"], &["h2"], welcoming(7)).await;
    let jail = jail(&store, &server, &logins);
    assert_eq!(ask(&jail).await, 401);
    store.put(pair(7));
    assert_eq!(ask(&jail).await, 200);
    assert_eq!(logins.requests(), 1);
}

#[tokio::test]
async fn a_renewed_login_that_cannot_be_stored_is_used_and_stored_later() {
    let (store, logins) = (Store::new(), token_server().await);
    let server = Server::https_with(&["a.test"], &["h2"], welcoming(1)).await;
    let jail = jail(&store, &server, &logins);
    store.fail(2);
    assert_eq!((ask(&jail).await, ask(&jail).await), (200, 200));
    assert!(!store.is_renewed());
    let stored = async {
        while !store.is_renewed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stored).await.unwrap();
    assert_eq!((ask(&jail).await, logins.requests()), (200, 1));
}

#[tokio::test]
async fn a_renewed_login_is_stored_at_the_end_of_the_job() {
    let (store, logins) = (Store::new(), token_server().await);
    let server = Server::https_with(&["a.test"], &["h2"], welcoming(1)).await;
    let jail = jail(&store, &server, &logins);
    store.fail(1);
    assert_eq!(ask(&jail).await, 200);
    tokio::task::spawn_blocking(move || jail.shutdown(Duration::from_secs(1))).await.unwrap();
    assert!(store.is_renewed());
}

#[tokio::test]
async fn an_odd_lifetime_costs_no_login_and_causes_no_storm() {
    for expires_in in [
        json!("3600"),
        json!(3599.9),
        json!(-1),
        json!(0),
        json!(null),
        json!({}),
        json!(1e300),
        json!("soon"),
    ] {
        let (store, logins) = (Store::new(), token_server_with(expires_in.clone()).await);
        let server = Server::https_with(&["a.test"], &["h2"], welcoming(1)).await;
        let jail = jail(&store, &server, &logins);
        for _ in 0..3 {
            assert_eq!(ask(&jail).await, 200, "{expires_in}");
        }
        assert!(store.is_renewed() && logins.requests() == 1, "{expires_in}");
    }
}
