//! Why a command was not done, as people and scripts learn it: `error: ...`, a hint, an exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

use serde_json::{Map, Value};

/// What the exit codes mean; see the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// It was not done.
    Failed = 1,
    /// Arguments or files cannot be used.
    Usage = 2,
    /// Nobody answers.
    NoPeer = 3,
    /// Arguments or files cannot be used, of `simulate`, where 2 says something of a run: EX_USAGE of sysexits(3).
    SimulateUsage = 64,
    /// Ctrl-C.
    Interrupted = 130,
}

/// Why a command was not done.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    /// What kind of error the peer says it is, for scripts.
    kind: Option<String>,
    /// What else the peer says, for scripts: who leads, under which request to ask again.
    data: Map<String, Value>,
    message: String,
    hint: Option<String>,
    /// Whoever reads our output went away: no failure at all.
    quiet: bool,
    /// The peer has too much to do, and says so.
    busy: bool,
}

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Code {
    /// For scripts, where no peer said what kind of error it is.
    const fn kind(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage | Self::SimulateUsage => "usage",
            Self::NoPeer => "no_peer",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Failure {
    /// It was not done.
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self::with(Code::Failed, message)
    }

    /// Arguments or files cannot be used.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::with(Code::Usage, message)
    }

    pub(crate) fn with(code: Code, message: impl fmt::Display) -> Self {
        let (message, data) = (message.to_string(), Map::new());
        Self { code, kind: None, data, message, hint: None, quiet: false, busy: false }
    }

    /// The exit code of what was told; whoever reads our output may have gone, and the verdict stands.
    pub(crate) fn unless_gone(told: Result, code: u8) -> Result<ExitCode> {
        match told {
            Err(failure) if !failure.quiet => Err(failure),
            Ok(()) | Err(_) => Ok(ExitCode::from(code)),
        }
    }

    /// What to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Of `simulate`, whose runs have exit codes of their own.
    pub(crate) fn of_simulate(mut self) -> Self {
        if self.code == Code::Usage {
            self.code = Code::SimulateUsage;
        }
        self
    }

    /// The code that the peer's answer has.
    pub(crate) fn kind(mut self, kind: Option<&str>) -> Self {
        self.kind = kind.map(str::to_owned);
        self
    }

    /// What is asked for is not there.
    pub(crate) fn not_found(message: impl fmt::Display) -> Self {
        Self::new(message).kind(Some("not_found"))
    }

    /// What else the peer's answer has.
    pub(crate) fn data(mut self, data: Map<String, Value>) -> Self {
        self.data = data;
        self
    }

    /// One thing more for scripts, such as what was decided before this went wrong.
    pub(crate) fn adding(mut self, key: &str, value: Value) -> Self {
        self.data.insert(key.to_owned(), value);
        self
    }

    /// What the peer's answer has of this, such as `leader`.
    pub(crate) fn datum(&self, key: &str) -> &Value {
        self.data.get(key).unwrap_or(&Value::Null)
    }

    /// The same, with members called by their names where the words have their ids.
    pub(crate) fn naming(mut self, members: &[Value]) -> Self {
        for member in members {
            if let (Some(node), Some(name)) = (member["node"].as_str(), member["name"].as_str())
                && !name.is_empty()
            {
                self.message = self.message.replace(node, name);
            }
        }
        self
    }

    /// A file that could not be read or written.
    pub(crate) fn file(verb: &str, path: &std::path::Path, error: &io::Error) -> Self {
        Self::usage(format_args!("cannot {verb} {}: {error}", path.display()))
    }

    /// The peer has too much to do: to be tried again.
    pub(crate) fn busy(mut self) -> Self {
        self.busy = true;
        self.hint("try again shortly")
    }

    /// The same in other words.
    pub(crate) fn saying(mut self, message: impl fmt::Display) -> Self {
        self.message = message.to_string();
        self
    }

    /// What was done before.
    pub(crate) fn after(mut self, done: impl fmt::Display) -> Self {
        self.message = format!("{done}; then: {}", self.message);
        self
    }

    pub(crate) fn is_kind(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    pub(crate) const fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether it may be over soon: nobody answers, or the peer is busy, reads its log still, or is leaving.
    pub(crate) fn is_passing(&self) -> bool {
        self.code == Code::NoPeer || self.busy
    }

    /// Whether the peer was there, and did not come to answer: what it was asked for may be done.
    pub(crate) fn is_unknown(&self) -> bool {
        self.code == Code::NoPeer && !self.message.contains("connection refused")
    }

    /// What to do about it: what was said, or what the system's own words tell.
    fn advice(&self) -> Option<&str> {
        let forbidden = self.message.contains("Permission denied").then_some(
            "this user may not: look at the owner and the permissions of that path and of the directories above it, or run it as the user \
             whose they are",
        );
        self.hint.as_deref().or(forbidden)
    }

    /// As JSON: with a code always.
    fn for_programs(&self) -> Value {
        let mut error = self.data.clone();
        error.insert("code".to_owned(), self.kind.as_deref().unwrap_or_else(|| self.code.kind()).into());
        error.insert("message".to_owned(), self.message.as_str().into());
        error.insert("hint".to_owned(), self.advice().into());
        serde_json::json!({ "error": error })
    }

    /// Tells it on standard error and gives the exit code.
    pub(crate) fn report(&self, json: bool, red: bool) -> ExitCode {
        if self.quiet {
            return ExitCode::SUCCESS;
        }
        let told = if json {
            format!("{}\n", self.for_programs())
        } else {
            let label = if red { "\x1b[1;31merror\x1b[0m" } else { "error" };
            let hint = self.advice().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
            format!("{label}: {}\n{hint}", self.message)
        };
        // Nobody is left to tell when standard error is closed too.
        let _ = io::Write::write_all(&mut io::stderr(), told.as_bytes());
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<io::Error> for Failure {
    /// Only output is written with `?`; files name themselves with [`Failure::file`].
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self { quiet, ..Self::new(format_args!("cannot write the output: {error}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_for_programs_have_a_code_and_what_the_peer_said() {
        let data = serde_json::json!({ "leader": { "node": "1" }, "term": 2 }).as_object().cloned().unwrap_or_default();
        let failure = Failure::new("no").kind(Some("not_leader")).data(data);
        assert_eq!(failure.for_programs()["error"]["leader"]["node"], "1");
        assert_eq!(failure.for_programs()["error"]["code"], "not_leader");
        for (failure, code) in [
            (Failure::with(Code::NoPeer, "x"), "no_peer"),
            (Failure::not_found("x"), "not_found"),
            (Failure::usage("x"), "usage"),
            (Failure::new("x"), "failed"),
        ] {
            assert_eq!(failure.for_programs()["error"]["code"], code);
        }
    }

    #[test]
    fn who_was_there_and_did_not_answer_may_have_done_it() {
        assert!(Failure::with(Code::NoPeer, "no peer answers at a: Connection reset by peer").is_unknown());
        assert!(!Failure::with(Code::NoPeer, "no peer answers at a: connection refused").is_unknown());
        assert!(!Failure::new("no").is_unknown());
    }

    #[test]
    fn members_are_called_by_their_names() {
        let members =
            [serde_json::json!({ "node": "0-1", "name": "b" }), serde_json::json!({ "node": "0-2", "name": "" })];
        let told = Failure::new("0-1 cannot, nor can 0-2").naming(&members).to_string();
        assert_eq!(told, "b cannot, nor can 0-2");
    }
}
