//! Why a text or structure is not a rule. Each message carries its cure.

use crate::authority_error::AuthorityError;
use crate::path::PathError;

/// Why a text or structure is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Nothing there.
    #[error("the rule is empty: name a host, e.g. `GET https://api.example.com/v1/*`")]
    Empty,
    /// More than methods and target.
    #[error("{0:?} has too many words: a rule is `[METHOD,…] [SCHEME://]HOST[:PORT][/PATH]`")]
    Words(String),
    /// `allow` or `deny` where the action is given already.
    #[error("{0:?} starts with an action where only methods may stand: leave `allow` or `deny` out")]
    ActionTwice(String),
    /// Not a token of RFC 9110.
    #[error("{0:?} is not an HTTP method: write e.g. `GET` or `GET,HEAD`, or none for all")]
    Method(String),
    /// `get`.
    #[error("the method {0:?} is never sent in this spelling: write `{upper}`", upper = .0.to_ascii_uppercase())]
    MethodCase(String),
    /// `CONNECT`.
    #[error("`CONNECT` opens a tunnel to this proxy and is decided by what goes through it: leave it out")]
    Connect,
    /// `ftp://`.
    #[error("{0:?} is not a scheme: write https, http, wss, ws or tcp")]
    Scheme(String),
    /// Not a host.
    #[error(transparent)]
    Host(AuthorityError),
    /// `a*.example.com`, `*.*`.
    #[error("{0:?} has a wildcard inside: write `*.example.com` for sub-domains or `*` for every host")]
    Wildcard(String),
    /// Not a network.
    #[error("{0:?} is not a network: write e.g. `10.0.0.0/8` or `[fd00::]/8`")]
    Network(String),
    /// A network with host bits.
    #[error(
        "{text:?} has bits behind its prefix: write `{network}`; if a path is meant, write the port before it"
    )]
    HostBits {
        /// The network as it came.
        text: String,
        /// The network of that prefix, as a rule names it.
        network: String,
    },
    /// `[::ffff:10.0.0.0]/104`.
    #[error("{0:?} is IPv4 inside IPv6: write the IPv4 network, e.g. `10.0.0.0/8`")]
    MappedNetwork(String),
    /// Not a port.
    #[error(transparent)]
    Port(AuthorityError),
    /// No path, or one that no request can have.
    #[error("the rule's path can never match: {0}")]
    Path(PathError),
    /// A query in a glob.
    #[error("{0:?} has a query, which rules do not see: leave out `?` and what follows, or write `%3F`")]
    Query(String),
    /// `;x` in a glob.
    #[error("{0:?} has `;`, and what follows it in a segment is not part of a rule: leave it out")]
    Parameters(String),
    /// `***`.
    #[error("{0:?} has three stars in a row: `*` stays within a segment, `**` crosses `/`")]
    Stars(String),
    /// Not a repository.
    #[error(
        "{0:?} is not a repository: write `HOST/OWNER/REPO` as in its https address, e.g. `github.com/me/project`"
    )]
    Repository(String),
    /// A git rule without repositories.
    #[error("the git rule names no repository: write e.g. `git github.com/me/project`")]
    NoRepositories,
    /// Not a ref.
    #[error("{0:?} is not a ref: write e.g. `main`, `agent/*`, `refs/tags/v*`, or `^main` to take one out")]
    Ref(String),
    /// `force` or `delete` without refs, or only refs that are taken out.
    #[error(
        "the git rule lets nothing be pushed: say which refs, e.g. `push=agent/*`, or leave force, delete and `^` out"
    )]
    NoRefs,
    /// Neither fetch nor push.
    #[error("the git rule allows neither fetch nor push: allow one of them, or leave the rule out")]
    GitNothing,
    /// A word that no git rule has.
    #[error(
        "{0:?} is not part of a git rule: after the repository come `push=REF[,REF…]`, `force`, `delete`, `no-fetch` \
         and `credential=NAME`"
    )]
    GitWord(String),
    /// A denying git rule.
    #[error(
        "a git rule can only allow: leave refs out of `push` or take them out with `^`, or deny the repository by its path"
    )]
    GitDeny,
    /// A git rule with other parts of a rule.
    #[error("a git rule says all by its repositories: leave hosts, ports, methods, paths and scheme out")]
    GitWithRequest,
    /// No host in a structured rule.
    #[error("the rule names no host and can never match: give `hosts`, e.g. [\"api.example.com\"]")]
    NoHosts,
    /// A tcp rule without ports.
    #[error("a tcp rule must name its port: write e.g. `tcp://db.example.net:5432`")]
    TcpWithoutPort,
    /// A tcp rule with methods or paths.
    #[error("a tcp rule sees bytes, not requests, and cannot have methods or paths: leave them out")]
    TcpWithRequest,
    /// A credential where none can be used.
    #[error("only a rule that allows http or https can have a credential: leave `credential` out")]
    Credential,
    /// An empty credential name.
    #[error("the credential's name is empty: name a declared one or leave `credential` out")]
    EmptyCredential,
}
