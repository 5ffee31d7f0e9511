//! Errors as people read them in a log: the message and all its causes on one line.

/// The error and its causes, with a colon before each.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open it")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_follow_in_their_order() {
        let cause = std::io::Error::other("no such thing");
        assert_eq!(chain(&Outer(cause)), "cannot open it: no such thing");
    }
}
