//! The profiles of the ready-made jails on macOS, asked by the checks' own reader and compared as a whole.
//! `UPDATE_GOLDEN=1` writes them anew.

#[path = "../../sandbox/tests/seatbelt/sbpl.rs"]
mod sbpl;

use std::collections::HashMap;
use std::fs;

use sandbox::backend::seatbelt::layout::{Host, Layout};
use sandbox::backend::seatbelt::profile::{self, Ends};

use super::*;
use crate::spec::WorkspaceMode;
use sbpl::{Profile, To};

const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";
const PORT: u16 = 49152;

/// A Mac in a directory: a home with secrets, a project, a store.
struct Mac {
    folder: tempfile::TempDir,
    operator: Operator,
}

impl Mac {
    fn new() -> Mac {
        // A name without a dot, which patterns would escape.
        let folder = tempfile::Builder::new().prefix("mac").tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let home = root.join("Users/me");
        fs::create_dir_all(home.join("project/.git/hooks")).unwrap();
        fs::write(home.join("project/.git/config"), "").unwrap();
        fs::create_dir_all(root.join(format!("store/{HASH}-agent/bin"))).unwrap();
        let environment = HashMap::from([("NIX_STORE_DIR".into(), root.join("store").into_os_string())]);
        let operator =
            Operator { environment, directory: home.join("project"), home, uid: 501, writable: Vec::new() };
        Mac { folder, operator }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// The profile of a ready-made jail in the project, as text.
    fn profile(&self, name: &str) -> String {
        let spec = JailSpec::find(name, &[]).unwrap();
        let policy = Policy::new(spec.rules.clone()).unwrap();
        let directory = &self.operator.directory;
        let workspace = Workspace::open(directory, WorkspaceMode::Rw, &[], false, &self.operator).unwrap();
        let binds = binds(&spec, Some(&workspace), &self.operator).unwrap();
        let guard = Guard::new(Some(&workspace), binds, &self.operator).unwrap();
        let paths = [self.root().join(format!("store/{HASH}-agent"))].into();
        let home = (spec.home.kind == crate::spec::Home::Persistent)
            .then(|| self.root().join("state/homes").join(name));
        let home = match home {
            Some(source) => Entry::Bind { source, target: HOME.into(), access: Access::ReadWrite },
            None => Entry::Directory { target: HOME.into(), writable: true },
        };
        let ca = proxy::ca::JobCa::generate().unwrap();
        let parts = Parts {
            command: vec!["agent".into()],
            policy: &policy,
            programs: HostTree::default(),
            closure: Closure { paths, ..Closure::default() },
            workspace: Some(&workspace),
            guard: &guard,
            layer: PathBuf::new(),
            home: vec![home],
            dummies: Vec::new(),
            git: Vec::new(),
            own: trust::files(ca.certificate_pem(), false).unwrap(),
            id: "job-1",
            ids: JobIds { uid: 501, gid: 20 },
            reach: &Reach::Port { port: PORT, secret: "secret".to_owned() },
        };
        let plan = plan(&spec, parts, &self.operator).unwrap();
        let url = OsString::from(format!("http://job:secret@127.0.0.1:{PORT}"));
        assert!(plan.environment.contains(&("HTTPS_PROXY".into(), url.clone())));
        assert!(plan.environment.contains(&("http_proxy".into(), url)));
        let host = Host { private: "/private/var/folders/x/job".into(), ..Host::default() };
        let layout = Layout::of(&plan, &host).unwrap();
        assert_eq!(layout.notices, [] as [&str; 0], "{name}");
        let certificates = layout.environment.iter().find(|(name, _)| name == "SSL_CERT_FILE").unwrap();
        assert_eq!(certificates.1, "/private/var/folders/x/job/root/etc/ssl/certs/ca-certificates.crt");
        profile::of(&layout, &Ends { port: PORT, terminal: None }).unwrap()
    }
}

const NAMES: [&str; 8] = ["claude", "codex", "copilot", "gemini", "opencode", "pi", "qwen", "shell"];

#[test]
fn no_ready_made_jail_may_do_what_it_must_not() {
    let mac = Mac::new();
    let root = mac.root();
    for name in NAMES {
        let profile = Profile::read(&mac.profile(name));
        for (operation, path, allowed) in [
            ("file-read-data", "Users/me/.ssh/id_ed25519", false),
            ("file-read-metadata", "Users/me/.ssh/id_ed25519", false),
            ("file-read-data", "Users/me/Library/Keychains/login.keychain-db", false),
            ("file-read-data", "Users/me/.claude/.credentials.json", false),
            ("file-read-data", "Users/me", false),
            ("file-read-data", "Users/me/project/src/main.rs", true),
            ("file-write-create", "Users/me/project/src/new.rs", true),
            ("file-write-create", "Users/me/project/.git/objects/00/x", true),
            ("file-write-create", "Users/me/project/.git/hooks/pre-commit", false),
            ("file-write-create", "Users/me/project/.git/Hooks/pre-commit", false),
            ("file-write-data", "Users/me/project/.git/config", false),
            ("file-write-unlink", "Users/me/project/.git", false),
            ("file-write-create", "Users/me/project/.envrc", false),
            ("file-write-create", "Users/me/project/.claude/settings.json", false),
            ("file-write-create", "Users/me/project/.mcp.json", false),
            ("file-write-create", "Users/me/project/.vscode", false),
            ("file-read-data", "Users/me/other/x", false),
        ] {
            let path = root.join(path);
            let path = path.to_str().unwrap();
            assert_eq!(profile.allows(operation, To::Path(path)), allowed, "{name}: {operation} {path}");
        }
        let store = |rest: &str| root.join(format!("store/{HASH}-{rest}"));
        let (agent, other) = (store("agent/bin/agent"), store("other/bin/x"));
        assert!(profile.allows("process-exec", To::Path(agent.to_str().unwrap())), "{name}");
        assert!(!profile.allows("file-write-data", To::Path(agent.to_str().unwrap())), "{name}");
        for operation in ["file-read-data", "file-read-metadata", "process-exec"] {
            assert!(!profile.allows(operation, To::Path(other.to_str().unwrap())), "{name}: {operation}");
        }
        assert!(profile.allows("network-outbound", To::Address(&format!("localhost:{PORT}"))), "{name}");
        for address in ["1.1.1.1:443", "*:443", "localhost:22", "localhost:49153"] {
            assert!(!profile.allows("network-outbound", To::Address(address)), "{name}: {address}");
        }
        for operation in ["network-inbound", "network-bind"] {
            assert!(!profile.allows(operation, To::Anything), "{name}: {operation}");
        }
        for service in ["com.apple.SecurityServer", "com.apple.securityd", "com.apple.pasteboard.1"] {
            assert!(!profile.allows("mach-lookup", To::Name(service)), "{name}: {service}");
        }
    }
}

#[test]
fn profiles_are_what_they_were() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/seatbelt");
    let mac = Mac::new();
    let root = mac.root();
    for name in NAMES {
        let text = mac.profile(name);
        // What every jail has of the system is in the first one only.
        let start = if name == NAMES[0] { 0 } else { text.find("\n; The jail's files.").unwrap() + 1 };
        let text = text[start..].replace(root.to_str().unwrap(), "/MAC");
        // The ways to the temporary directory are this machine's own.
        let text: String = text.split_inclusive('\n').filter(|line| !is_way(line, &root)).collect();
        let file = golden.join(format!("{name}.sb"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(&golden).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap();
        let same = in_any_order(&text) == in_any_order(&expected);
        assert!(same, "{}: if this is meant, UPDATE_GOLDEN=1; now:\n{text}", file.display());
    }
}

/// Sorts neighbouring rules of the same verdict. The profile has them by path, so that their order depends on where the
/// temporary directory is; which one of them comes first means nothing.
fn in_any_order(text: &str) -> String {
    let verdict = |line: &str| ["(allow ", "(deny "].into_iter().find(|verdict| line.starts_with(verdict));
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let groups = lines.chunk_by(|one, other| verdict(one).is_some() && verdict(one) == verdict(other));
    groups
        .flat_map(|group| {
            let mut group = group.to_vec();
            group.sort_unstable();
            group
        })
        .collect()
}

fn is_way(line: &str, root: &Path) -> bool {
    let own = ["/private/tmp", "/private/var", "/private", "/", "/tmp", "/var"];
    root.ancestors().skip(1).any(|above| {
        !own.contains(&above.to_str().unwrap())
            && line == format!("(allow file-read-metadata (literal \"{}\"))\n", above.display())
    })
}
