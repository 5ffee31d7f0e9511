//! Cuts an expression into words, numbers, texts and signs, each with its column.

use super::SyntaxError;

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword, in upper case.
    Keyword(&'static str),
    /// The name of an attribute or a function, as written.
    Word(String),
    /// Digits.
    Number(String),
    /// A quoted text without its quotes.
    Text(String),
    /// A sign.
    Sign(&'static str),
    /// Nothing more.
    End,
}

/// A token with its place.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: Kind,
    /// Where it begins, in characters from 1.
    pub(super) column: usize,
}

const KEYWORDS: [&str; 9] = [
    "AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE",
];

/// The longer ones first.
const SIGNS: [&str; 15] = [
    "!=", "<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ",",
];

/// Cuts a text; the last token is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let characters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&first) = characters.get(at) {
        let column = at + 1;
        let kind = if matches!(first, ' ' | '\t' | '\r' | '\n') {
            at += 1;
            continue;
        } else if first == '\'' || first == '"' {
            quoted(&characters, &mut at)?
        } else if first.is_ascii_alphanumeric() {
            word(&characters, &mut at)
        } else {
            let rest = &characters[at..];
            let sign = SIGNS.iter().find(|sign| {
                let length = sign.len();
                rest.len() >= length && sign.chars().eq(rest[..length].iter().copied())
            });
            let Some(sign) = sign else {
                let problem = format!("`{}` means nothing here", first.escape_debug());
                return Err(SyntaxError { column, problem });
            };
            at += sign.len();
            Kind::Sign(sign)
        };
        found.push(Token { kind, column });
    }
    found.push(Token {
        kind: Kind::End,
        column: characters.len() + 1,
    });
    Ok(found)
}

/// A text up to the quote that it began with; only that quote is escaped.
fn quoted(characters: &[char], at: &mut usize) -> Result<Kind, SyntaxError> {
    let (start, quote) = (*at, characters[*at]);
    let mut text = String::new();
    *at += 1;
    while let Some(&character) = characters.get(*at) {
        *at += 1;
        if character == quote {
            return Ok(Kind::Text(text));
        }
        if character == '\\'
            && let Some(&next) = characters.get(*at)
        {
            // Any other pair stays as it is: LIKE has a meaning for it.
            if next != quote {
                text.push('\\');
            }
            text.push(next);
            *at += 1;
            continue;
        }
        text.push(character);
    }
    Err(SyntaxError {
        column: start + 1,
        problem: format!("the text has no closing {quote}"),
    })
}

fn word(characters: &[char], at: &mut usize) -> Kind {
    let start = *at;
    while characters
        .get(*at)
        .is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_')
    {
        *at += 1;
    }
    let word: String = characters[start..*at].iter().collect();
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Kind::Number(word);
    }
    let keyword = KEYWORDS
        .iter()
        .find(|keyword| keyword.eq_ignore_ascii_case(&word));
    keyword.map_or(Kind::Word(word), |keyword| Kind::Keyword(keyword))
}
