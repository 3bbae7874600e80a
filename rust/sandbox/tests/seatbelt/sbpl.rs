//! A reader of sandbox profiles of the checks' own: it knows the language as Apple's manuals and profiles show it, and
//! nothing of the code that writes them. What it does not know, it fails at.
#![allow(dead_code, reason = "each test asks its own questions")]

/// A profile.
#[derive(Debug)]
pub(crate) struct Profile(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    allows: bool,
    operations: Vec<String>,
    /// Any of these; none is everything.
    filters: Vec<Filter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    Literal(String),
    Subpath(String),
    Regex(String),
    Name(String),
    NamePrefix(String),
    SameSandbox,
    Remote(String),
    Extension(String),
    All(Vec<Filter>),
}

/// What a program wants to do it to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To<'a> {
    /// A file.
    Path(&'a str),
    /// A file that the kernel has marked with an extension.
    Marked(&'a str, &'a str),
    /// A service or a kernel value.
    Name(&'a str),
    /// `HOST:PORT`, as the language has it: `localhost` or `*`.
    Address(&'a str),
    /// A process of the same sandbox.
    Ourselves,
    /// Another process, or whatever there is.
    Anything,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Symbol(String),
    Text(String),
    List(Vec<Expression>),
}

/// Operations that the system has; a profile that names another one is not accepted by it.
const OPERATIONS: &[&str] = &[
    "default",
    "file-ioctl",
    "file-map-executable",
    "file-read*",
    "file-read-metadata",
    "file-write*",
    "file-write-create",
    "file-write-data",
    "file-write-flags",
    "file-write-mode",
    "file-write-owner",
    "file-write-times",
    "file-write-unlink",
    "file-write-xattr",
    "ipc-posix-sem",
    "mach-lookup",
    "network-outbound",
    "process-exec*",
    "process-fork",
    "process-info*",
    "pseudo-tty",
    "signal",
    "sysctl-read",
];

impl Profile {
    /// Reads a profile, which must begin with the version and the denial of everything.
    pub(crate) fn read(text: &str) -> Profile {
        let mut expressions = read(text).into_iter();
        let version = Expression::List(vec![symbol("version"), symbol("1")]);
        assert_eq!(expressions.next(), Some(version));
        let rules: Vec<Rule> = expressions.map(rule).collect();
        let first = rules.first().expect("a rule");
        assert!(!first.allows && first.operations == ["default"] && first.filters.is_empty(), "{first:?}");
        assert!(rules.iter().skip(1).all(|rule| !rule.operations.iter().any(|of| of == "default")));
        Profile(rules)
    }

    /// Whether the operation is allowed: the last rule that matches says so.
    pub(crate) fn allows(&self, operation: &str, to: To<'_>) -> bool {
        let matching = self.0.iter().rfind(|rule| {
            rule.operations.iter().any(|of| covers(of, operation))
                && (rule.filters.is_empty() || rule.filters.iter().any(|filter| filter.matches(to)))
        });
        matching.expect("the default").allows
    }

    /// Every text that a filter of this kind of operation names.
    pub(crate) fn named(&self, operation: &str) -> Vec<&str> {
        let rules = self.0.iter().filter(|rule| rule.operations.iter().any(|of| of == operation));
        rules
            .flat_map(|rule| &rule.filters)
            .map(|filter| match filter {
                Filter::Literal(text)
                | Filter::Subpath(text)
                | Filter::Regex(text)
                | Filter::Name(text)
                | Filter::NamePrefix(text)
                | Filter::Remote(text)
                | Filter::Extension(text) => text.as_str(),
                Filter::SameSandbox | Filter::All(_) => "",
            })
            .collect()
    }
}

fn covers(of: &str, operation: &str) -> bool {
    of == "default"
        || of == operation
        || of.strip_suffix('*').is_some_and(|start| operation.starts_with(start))
}

impl Filter {
    fn matches(&self, to: To<'_>) -> bool {
        let path = match to {
            To::Path(path) | To::Marked(path, _) => Some(path),
            _ => None,
        };
        match self {
            Filter::Literal(literal) => path == Some(literal),
            Filter::Subpath(above) => path
                .and_then(|path| path.strip_prefix(above))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Filter::Regex(pattern) => path.is_some_and(|path| regex(pattern, path)),
            Filter::Name(name) => matches!(to, To::Name(asked) if asked == name),
            Filter::NamePrefix(prefix) => matches!(to, To::Name(asked) if asked.starts_with(prefix)),
            Filter::SameSandbox => matches!(to, To::Ourselves),
            Filter::Remote(address) => matches!(to, To::Address(asked) if asked == address),
            Filter::Extension(name) => matches!(to, To::Marked(_, mark) if mark == name),
            Filter::All(all) => all.iter().all(|filter| filter.matches(to)),
        }
    }
}

fn rule(expression: Expression) -> Rule {
    let Expression::List(list) = expression else { panic!("not a rule: {expression:?}") };
    let mut list = list.into_iter();
    let allows = match list.next() {
        Some(Expression::Symbol(word)) if word == "allow" => true,
        Some(Expression::Symbol(word)) if word == "deny" => false,
        other => panic!("neither allow nor deny: {other:?}"),
    };
    let (mut operations, mut filters) = (Vec::new(), Vec::new());
    for part in list {
        match part {
            Expression::Symbol(operation) => {
                assert!(OPERATIONS.contains(&operation.as_str()), "no such operation: {operation}");
                operations.push(operation);
            }
            part => filters.push(filter(part)),
        }
    }
    assert!(!operations.is_empty());
    Rule { allows, operations, filters }
}

fn filter(expression: Expression) -> Filter {
    let Expression::List(mut list) = expression else { panic!("not a filter: {expression:?}") };
    let Expression::Symbol(kind) = list.remove(0) else { panic!("no kind of filter") };
    if kind == "require-all" {
        return Filter::All(list.into_iter().map(filter).collect());
    }
    match (kind.as_str(), list.as_slice()) {
        ("literal", [Expression::Text(text)]) => Filter::Literal(text.clone()),
        ("subpath", [Expression::Text(text)]) => Filter::Subpath(text.clone()),
        ("regex", [Expression::Text(text)]) => Filter::Regex(text.clone()),
        ("global-name" | "sysctl-name", [Expression::Text(text)]) => Filter::Name(text.clone()),
        ("sysctl-name-prefix", [Expression::Text(text)]) => Filter::NamePrefix(text.clone()),
        ("extension", [Expression::Text(text)]) => Filter::Extension(text.clone()),
        ("target", [Expression::Symbol(word)]) if word == "same-sandbox" => Filter::SameSandbox,
        ("remote", [Expression::Symbol(word), Expression::Text(text)]) if word == "ip" => {
            Filter::Remote(text.clone())
        }
        other => panic!("no such filter: {other:?}"),
    }
}

fn symbol(word: &str) -> Expression {
    Expression::Symbol(word.to_owned())
}

fn read(text: &str) -> Vec<Expression> {
    let mut rest = text.chars().peekable();
    let mut open: Vec<Vec<Expression>> = vec![Vec::new()];
    while let Some(character) = rest.next() {
        let done = match character {
            ' ' | '\n' | '\t' => continue,
            ';' => {
                rest.by_ref().find(|character| *character == '\n');
                continue;
            }
            '(' => {
                open.push(Vec::new());
                continue;
            }
            ')' => Expression::List(open.pop().expect("a list")),
            '"' => {
                let mut text = String::new();
                loop {
                    match rest.next().expect("the end of a string") {
                        '"' => break,
                        '\\' => match rest.next() {
                            Some(escaped @ ('"' | '\\')) => text.push(escaped),
                            other => panic!("an escape that readers disagree about: {other:?}"),
                        },
                        other => text.push(other),
                    }
                }
                Expression::Text(text)
            }
            first => {
                let mut word = String::from(first);
                while let Some(next) = rest.next_if(|next| !" \n\t()\";".contains(*next)) {
                    word.push(next);
                }
                Expression::Symbol(word)
            }
        };
        open.last_mut().expect("more opened than closed").push(done);
    }
    assert_eq!(open.len(), 1, "a list that does not end");
    open.remove(0)
}

/// What profiles use of regular expressions: borders, characters, escapes, sets, `+`.
fn regex(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    match pattern.split_first() {
        Some(('^', pattern)) => here(pattern, &text),
        _ => (0..=text.len()).any(|start| here(&pattern, &text[start..])),
    }
}

fn here(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => true,
        ['$'] => text.is_empty(),
        _ => {
            let (atom, rest) = atom(pattern);
            let matches = |text: &[char]| text.first().is_some_and(|first| atom_matches(atom, *first));
            match rest {
                ['+', rest @ ..] => {
                    let most = text.iter().take_while(|character| atom_matches(atom, **character)).count();
                    (1..=most).rev().any(|length| here(rest, &text[length..]))
                }
                _ => matches(text) && here(rest, &text[1..]),
            }
        }
    }
}

fn atom(pattern: &[char]) -> (&[char], &[char]) {
    match pattern[0] {
        '\\' => pattern.split_at(2),
        '[' => {
            pattern.split_at(pattern.iter().position(|character| *character == ']').expect("a set's end") + 1)
        }
        special @ ('*' | '?' | '(' | ')' | '{' | '}' | '|' | '.' | '+' | '^' | '$') => {
            panic!("{special} means more than this reader knows")
        }
        _ => pattern.split_at(1),
    }
}

fn atom_matches(atom: &[char], character: char) -> bool {
    match atom {
        ['\\', escaped] => *escaped == character,
        ['[', '^', set @ .., ']'] => !set.contains(&character),
        ['[', '0', '-', '9', ']'] => character.is_ascii_digit(),
        ['[', set @ .., ']'] => set.contains(&character),
        [plain] => *plain == character,
        other => panic!("what is {other:?}?"),
    }
}
