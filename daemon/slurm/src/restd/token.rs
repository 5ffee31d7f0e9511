//! Tokens for slurmrestd: from a file that its owner alone may read, or of `scontrol token`,
//! one for each user. They are in no argument, no message and no log.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::SlurmCli;

/// How slurmrestd knows who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By the socket (`rest_auth/local`): jobs are those of its user.
    Socket,
    /// By the token in this file, mode 600, which is read for each job.
    File(PathBuf),
    /// By tokens of `scontrol token`, which this process's user may ask for; for other users
    /// too if it is root or `SlurmUser`.
    Scontrol,
}

/// How long a token of `scontrol` is asked for.
const LIFESPAN: Duration = Duration::from_secs(1800);

/// When it is replaced, so that none ends under a request.
const RENEW: Duration = Duration::from_secs(1200);

/// Most users whose tokens are kept.
const MAX_KEPT: usize = 4096;

/// Longest token.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// A token, which prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // `scontrol token` prints a line for a shell.
        let token = text.strip_prefix("SLURM_JWT=").unwrap_or(text);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.=".contains(&b);
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(is_plain) {
            return Err("is not one token".to_owned());
        }
        Ok(Self(token.to_owned()))
    }

    /// The headers of a request by `user`.
    pub(super) fn headers(&self, user: &str) -> String {
        format!(
            "x-slurm-user-name: {user}\r\nx-slurm-user-token: {}\r\n",
            self.0
        )
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Tokens by user.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<String, (Token, Instant)>>);

impl Tokens {
    /// A token of `scontrol` for `user`, an earlier one if it has time left.
    pub(super) fn of_scontrol(&self, cli: &SlurmCli, user: &str) -> Result<Token, String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, at)) = kept.get(user)
            && at.elapsed() < RENEW
        {
            return Ok(token.clone());
        }
        let text = cli
            .token(user, LIFESPAN)
            .map_err(|error| format!("no token for `{user}`: {error}"))?;
        let token =
            Token::parse(&text).map_err(|problem| format!("what scontrol printed {problem}"))?;
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(user.to_owned(), (token.clone(), Instant::now()));
        Ok(token)
    }

    /// Forgets a token that was not accepted.
    pub(super) fn forget(&self, user: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(user);
    }
}

/// The token in a file.
pub(super) fn of_file(path: &Path) -> Result<Token, String> {
    let read = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mode = std::fs::metadata(path).map_err(read)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "{} can be read by others; chmod 600 it",
            path.display()
        ));
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    Token::parse(&text).map_err(|problem| format!("{} {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_and_not_shown() {
        let token = Token::parse("SLURM_JWT=eyJh.b-_c=\n").unwrap();
        assert_eq!(
            token.headers("u"),
            "x-slurm-user-name: u\r\nx-slurm-user-token: eyJh.b-_c=\r\n"
        );
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        for text in ["", "SLURM_JWT=", "a b", "a\r\nx: y", &"a".repeat(9000)] {
            assert!(Token::parse(text).is_err());
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc\n").unwrap();
        assert!(of_file(file.path()).is_ok());
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let refused = of_file(file.path()).unwrap_err();
        assert!(refused.contains("chmod 600") && !refused.contains("abc"));
    }
}
