//! The parts of a specification.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use policy::{Authority, HostPattern};
use proxy::config::ProxyServer;
use proxy::swap::{CredentialLocation, CredentialLocationError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli;
use crate::quantity::{Bytes, Span};
use crate::secrets::Source;
use crate::way_out;

/// A secret that the job uses without having it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CredentialSpec {
    /// The variable that holds the dummy inside.
    pub(crate) variable: String,
    /// Where the real one is, in order: the first that exists is used.
    #[schemars(with = "Vec<String>")]
    pub(crate) sources: Vec<Source>,
    /// The hosts that get the real one. Where rules name the credential, it goes by those rules only, and their hosts
    /// are its hosts too. An optional one without hosts is there for rules that name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<HostPattern>,
    /// Header names that carry it, beside the well-known ones (`Authorization`, `x-api-key` …).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<String>,
    /// Query parameters that carry it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) query_parameters: Vec<String>,
    /// Where it stands in a request, in place of the well-known headers: `header:NAME`, `header:NAME: Token token={}`,
    /// `basic:user`, `basic:password`, `query:NAME`, `cookie:NAME`, `aws:access-key-id`, `aws:secret-access-key`,
    /// `aws:session-token`, and `well-known` for those headers.
    #[schemars(with = "Vec<String>")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inject: Vec<CredentialLocation>,
    /// Credentials of one group are alternatives: the first that is found is used, the others' variables stay unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// How the login that a source holds is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oauth: Option<OauthSpec>,
    /// Whether the job starts without it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) optional: bool,
    /// Whether the job may use keys of its own towards these hosts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) allow_foreign: bool,
    /// Whether the real token is swapped back for the dummy in answers.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(crate) redact: bool,
}

/// A login with a refresh token (OAuth 2.0), in JSON. The proxy renews it before it expires and writes it back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct OauthSpec {
    /// The JSON pointer of the access token: a `file:` or `keyring:` source that ends in it holds such a login, others
    /// are used as they are.
    pub(crate) token: String,
    /// The JSON pointer of the refresh token.
    pub(crate) refresh: String,
    /// The JSON pointer of the time at which the access token expires (seconds or milliseconds since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expiry: Option<String>,
    /// The URL that gives new tokens (https).
    pub(crate) endpoint: String,
    /// The client id that the login was made with.
    pub(crate) client_id: String,
    /// The variable that holds a dummy of the refresh token inside, for programs that renew by themselves: the proxy
    /// answers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_variable: Option<String>,
    /// What makes a new login on the host, for errors: `claude /login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cure: Option<String>,
}

impl OauthSpec {
    /// The server of `endpoint`, and the path there.
    pub(crate) fn server(&self) -> Result<(Authority, String), String> {
        let error =
            |why: String| format!("oauth.endpoint {:?}: {why}; write https://HOST/PATH", self.endpoint);
        let rest =
            self.endpoint.strip_prefix("https://").ok_or_else(|| error("it is not https".to_owned()))?;
        let (authority, path) = rest.split_once('/').ok_or_else(|| error("it has no path".to_owned()))?;
        let authority = Authority::parse(authority, Some(443)).map_err(|why| error(why.to_string()))?;
        if path.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#%\\".contains(&byte)) {
            return Err(error("its path is not plain".to_owned()));
        }
        Ok((authority, format!("/{path}")))
    }
}

/// Another way to the API of an agent's model, in place of the jail's own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct GatewaySpec {
    /// The variables of the operator's environment that choose it: all of them are set, and not to `0` or `false`. The
    /// first gateway that is chosen is used.
    pub(crate) when: Vec<String>,
    /// What the job may do in place of what the jail's rules allow; what they deny stays denied. `${VAR}` alone stands for
    /// the URL in a variable, and allows all that is below its path. Otherwise it is `[METHODS ]URL` as in a rule; within it,
    /// a variable is one part of the host's name or of the path, and `${VAR:-text}` has a default.
    pub(crate) servers: Vec<String>,
    /// The credentials for these servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) credentials: Vec<CredentialSpec>,
    /// The group of the jail's credentials that is not used then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<String>,
    /// Variables of the jail.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) environment: BTreeMap<String, String>,
    /// Variables taken over from the operator's environment where they are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pass_environment: Vec<String>,
}

/// A file or directory of the host that is in the jail.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BindSpec {
    /// On the host; `~/` is the operator's home.
    pub(crate) source: PathBuf,
    /// In the jail; the same path if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<PathBuf>,
    /// Whether the job may write to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) writable: bool,
}

/// A language whose version managers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Language {
    /// rustup.
    Rust,
    /// nvm, fnm, Volta, nodenv.
    Node,
    /// pyenv, uv.
    Python,
    /// goenv.
    Go,
    /// SDKMAN!.
    Java,
}

/// A closure of the Nix store: the jail sees these store paths and no others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ClosureSpec {
    /// A file that lists the store paths, one per line (`store-paths` of `pkgs.closureInfo`).
    pub(crate) store_paths: PathBuf,
    /// The directories of these store paths that hold programs, for `PATH`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) path: Vec<PathBuf>,
    /// Variables of a dev shell; the jail's own (`HOME`, `PATH`, certificates …) stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) environment: BTreeMap<String, String>,
}

/// Which protections are weakened, each by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct HardeningSpec {
    /// What the job may do that jobs usually may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow: Vec<Allowance>,
}

/// Something that a protection keeps from jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Allowance {
    /// Memory that is writable and executable, which just-in-time compilers need (Node, Java). Only services forbid it.
    WritableExecutableMemory,
    /// User namespaces beneath the jail's, with mounts in them: sandboxes of browsers, bubblewrap. Goes without Landlock.
    NestedUserNamespaces,
    /// Priorities and placement of processes (`nice`, `taskset`, real time). Only services forbid it.
    Scheduling,
    /// Files with set-user-id or set-group-id bits.
    SetUserIdFiles,
}

impl Allowance {
    /// In words, after "may have".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Allowance::WritableExecutableMemory => "writable and executable memory",
            Allowance::NestedUserNamespaces => "user namespaces of its own, with mounts, and no Landlock",
            Allowance::Scheduling => "priorities and placement of processes",
            Allowance::SetUserIdFiles => "set-user-id files",
        }
    }
}

/// The proxy's way to the outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct UpstreamSpec {
    /// Certificates to trust beside the system's, of authorities or of single servers: PEM files, or directories of such.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ca: Vec<PathBuf>,
    /// The proxy behind which the outside is: `http://[NAME:PASSWORD@]HOST:PORT`, `https://`, `socks5://`, `socks5h://`, or
    /// `none`. Without it the operator's HTTPS_PROXY, HTTP_PROXY and ALL_PROXY say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<String>,
    /// Hosts, addresses and networks that are reached without the proxy, as in NO_PROXY. Without it NO_PROXY says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) no_proxy: Vec<String>,
    /// `HOST:PORT:ADDRESS:PORT`: this host and port is at that address, past resolver and address guard.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) connect_to: Vec<String>,
}

/// How a jail runs as a service of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ServiceSpec {
    /// The directory it works in; none means no workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workspace: Option<PathBuf>,
    /// The user whom it runs as, for whom the workspace's files are; none means a user that exists for it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
}

/// How the job sees its workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WorkspaceMode {
    /// Read-only.
    Ro,
    /// Read-write, but for the files that run later on the host.
    #[default]
    Rw,
    /// Read-write on a layer of the job's own; the workspace itself does not change.
    Overlay,
}

/// Who makes the jail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BackendName {
    /// The platform's default; never a weaker one because the default is unavailable.
    #[default]
    Auto,
    /// Linux namespaces, made by the operator's own user.
    Native,
    /// The same in a unit of systemd: the system's for root, the user's own for anybody else.
    Systemd,
    /// A container of Docker on this host.
    Docker,
    /// A container of Podman on this host.
    Podman,
    /// Apple's sandbox, by a profile made for the job (macOS).
    Seatbelt,
}

impl std::fmt::Display for BackendName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            BackendName::Auto => "auto",
            BackendName::Native => "native",
            BackendName::Systemd => "systemd",
            BackendName::Docker => "docker",
            BackendName::Podman => "podman",
            BackendName::Seatbelt => "seatbelt",
        })
    }
}

/// What the job may use up; what is left out is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct LimitsSpec {
    /// Memory, e.g. `4G`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Bytes>,
    /// CPUs' worth of time, e.g. 1.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpus: Option<f64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pids: Option<u64>,
    /// Wall-clock time, e.g. `2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Span>,
    /// By how much the free space of the disks that the job writes to may shrink while it runs, e.g. `20G`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk: Option<Bytes>,
    /// Bytes per second to read, and as many to write, on the workspace's disk, e.g. `20M`. Services only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) io: Option<Bytes>,
    /// Memory of the job's proxy beyond that of an idle one, e.g. `128M`; 64M by default, at least 16M.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy_memory: Option<Bytes>,
}

impl CredentialSpec {
    /// Where it stands in a request.
    pub(crate) fn places(&self) -> Result<Vec<CredentialLocation>, CredentialLocationError> {
        let mut places = match &self.inject[..] {
            [] => vec![CredentialLocation::WellKnown],
            declared => declared.to_vec(),
        };
        let more = self.headers.iter().map(|name| CredentialLocation::header(name));
        let parameters = self.query_parameters.iter().map(|name| format!("query:{name}").parse());
        for place in more.chain(parameters) {
            let place = place?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
    }
}

// serde asks for functions of exactly these shapes.
pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

fn is_true(value: &bool) -> bool {
    *value
}

fn yes() -> bool {
    true
}

impl HardeningSpec {
    pub(super) fn is_empty(&self) -> bool {
        *self == HardeningSpec::default()
    }
}

impl UpstreamSpec {
    pub(super) fn is_empty(&self) -> bool {
        *self == UpstreamSpec::default()
    }

    /// Checks `proxy`.
    pub(super) fn check_proxy(&self) -> Result<(), String> {
        match self.proxy.as_deref().filter(|proxy| *proxy != way_out::NONE) {
            Some(proxy) => {
                proxy.parse::<ProxyServer>().map(drop).map_err(|error| format!("upstream.proxy: {error}"))
            }
            None => Ok(()),
        }
    }

    /// What `connectTo` says.
    pub(crate) fn connect_to(&self) -> Result<Vec<(Authority, SocketAddr)>, String> {
        let connect_to = self.connect_to.iter().map(|text| cli::connect_to(text)).collect::<Result<_, _>>();
        connect_to.map_err(|error| format!("upstream.connectTo: {error}"))
    }
}

impl LimitsSpec {
    pub(super) fn is_empty(&self) -> bool {
        *self == LimitsSpec::default()
    }
}
