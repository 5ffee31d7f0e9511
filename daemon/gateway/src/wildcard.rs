//! Patterns with wildcards: parameters write them as `*` and `?`, CloudEvents SQL as `%` and `_`.

/// One part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Any text, or none.
    Any,
    /// Any one character.
    One,
    /// This character.
    Exactly(char),
}

/// Matches in time proportional to the product of the lengths, at worst.
pub(crate) fn matches(pattern: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(Piece::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(&piece) if piece == Piece::One || piece == Piece::Exactly(text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&piece| piece == Piece::Any)
}
