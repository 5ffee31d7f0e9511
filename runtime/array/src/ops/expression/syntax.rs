//! The language of `expr`: text to statements.
//!
//! A statement's nodes stand in the order in which they are computed, so nothing here or after
//! it recurses with the length of the text; only with its depth, which is limited.

use crate::ops::cellwise::{Binary, Unary};

/// Texts beyond this are no formula that somebody wrote.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 16;

/// How deep parentheses, signs, powers and choices may be nested.
const DEPTH_MAX: usize = 100;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Byte offset.
    pub(super) at: usize,
    pub(super) problem: String,
}

/// `target = value`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) target: String,
    pub(super) at: usize,
    /// Inputs come before what is computed from them; the last is the value. Empty if the target
    /// is to be removed.
    pub(super) nodes: Vec<Node>,
}

/// One value on the way to that of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where it stands.
    pub(super) at: usize,
    pub(super) kind: Kind,
}

/// Numbers are those of earlier nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Number(f64),
    Name(String),
    Unary(Unary, usize),
    Binary(Binary, usize, usize),
    Choose([usize; 3]),
    Call(String, Vec<usize>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: [&str; 23] = [
    "<=>", "&&", "||", "==", "!=", "<=", ">=", "=", "+", "-", "*", "/", "%", "^", "<", ">", "!",
    "?", ":", "(", ")", ",", ";",
];

/// Those of two sides by how tightly they bind, all from left to right. CDO gives `&&` and `||`
/// the same strength.
const LEVELS: [&[(&str, Binary)]; 4] = [
    &[("&&", Binary::And), ("||", Binary::Or)],
    &[
        ("==", Binary::Equal),
        ("!=", Binary::NotEqual),
        ("<", Binary::Less),
        ("<=", Binary::LessOrEqual),
        (">", Binary::Greater),
        (">=", Binary::GreaterOrEqual),
        ("<=>", Binary::Order),
    ],
    &[("+", Binary::Add), ("-", Binary::Subtract)],
    &[
        ("*", Binary::Multiply),
        ("/", Binary::Divide),
        ("%", Binary::Remainder),
    ],
];

/// Understands statements separated by `;`. From `#` to the end of its line is a comment.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, SyntaxError> {
    if text.len() > TEXT_BYTES_MAX {
        let problem = format!(
            "the text has {} bytes, at most {TEXT_BYTES_MAX} are read",
            text.len()
        );
        return Err(SyntaxError { at: 0, problem });
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
        nodes: Vec::new(),
    };
    let mut statements = Vec::new();
    loop {
        while parser.takes(";") {}
        if *parser.peek() == Token::End {
            break;
        }
        statements.push(parser.statement()?);
        if *parser.peek() != Token::End && !parser.takes(";") {
            return Err(parser.unexpected("an operator or `;`"));
        }
    }
    if statements.is_empty() {
        let problem = "there is no statement: write name=expression".to_owned();
        return Err(SyntaxError { at: 0, problem });
    }
    Ok(statements)
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        let (len, token) = if next.is_whitespace() {
            (next.len_utf8(), None)
        } else if next == '#' {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if next.is_ascii_digit() || (next == '.' && starts_fraction(rest)) {
            let len = number_len(rest);
            let value = rest[..len].parse().map_err(|_| SyntaxError {
                at,
                problem: format!("`{}` is not a number", &rest[..len]),
            })?;
            (len, Some(Token::Number(value)))
        } else if next.is_ascii_alphabetic() || next == '_' {
            let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            let len = rest.find(end).unwrap_or(rest.len());
            (len, Some(Token::Name(rest[..len].to_owned())))
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (sign.len(), Some(Token::Sign(sign)))
        } else {
            let problem = format!("`{next}` means nothing here");
            return Err(SyntaxError { at, problem });
        };
        tokens.extend(token.map(|token| (at, token)));
        at += len;
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

fn starts_fraction(text: &str) -> bool {
    text[1..].starts_with(|c: char| c.is_ascii_digit())
}

/// Digits, a fraction, and an exponent if one follows.
fn number_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let after = bytes[from..].iter().position(|byte| !byte.is_ascii_digit());
        after.map_or(bytes.len(), |count| from + count)
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits((end + 1 + sign).min(bytes.len()));
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
    /// Of the statement at hand.
    nodes: Vec<Node>,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].1
    }

    fn at(&self) -> usize {
        self.tokens[self.next].0
    }

    /// The last token is the end and stays.
    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(found) if *found == sign);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), SyntaxError> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        let found = match self.peek() {
            Token::Number(value) => format!("the number {value}"),
            Token::Name(name) => format!("`{name}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        SyntaxError {
            at: self.at(),
            problem: format!("expected {expected}, found {found}"),
        }
    }

    fn statement(&mut self) -> Result<Statement, SyntaxError> {
        let at = self.at();
        let Token::Name(target) = self.peek().clone() else {
            return Err(self.unexpected("the name of a variable"));
        };
        self.advance();
        if target == "remove" && self.takes("(") {
            let Token::Name(target) = self.peek().clone() else {
                return Err(self.unexpected("the name of a variable"));
            };
            self.advance();
            self.expect(")")?;
            let nodes = Vec::new();
            return Ok(Statement { target, at, nodes });
        }
        self.expect("=")?;
        self.value()?;
        let nodes = std::mem::take(&mut self.nodes);
        Ok(Statement { target, at, nodes })
    }

    fn push(&mut self, at: usize, kind: Kind) -> usize {
        self.nodes.push(Node { at, kind });
        self.nodes.len() - 1
    }

    /// Runs one of the rules that nest.
    fn deeper(
        &mut self,
        rule: impl FnOnce(&mut Self) -> Result<usize, SyntaxError>,
    ) -> Result<usize, SyntaxError> {
        if self.depth == DEPTH_MAX {
            let problem = format!("nested more than {DEPTH_MAX} deep");
            return Err(SyntaxError {
                at: self.at(),
                problem,
            });
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    /// `condition ? value : value`, or what binds more tightly.
    fn value(&mut self) -> Result<usize, SyntaxError> {
        self.deeper(|parser| {
            let condition = parser.level(0)?;
            let at = parser.at();
            if !parser.takes("?") {
                return Ok(condition);
            }
            let yes = parser.value()?;
            parser.expect(":")?;
            let no = parser.value()?;
            Ok(parser.push(at, Kind::Choose([condition, yes, no])))
        })
    }

    fn level(&mut self, level: usize) -> Result<usize, SyntaxError> {
        let Some(signs) = LEVELS.get(level) else {
            return self.signed();
        };
        let mut left = self.level(level + 1)?;
        loop {
            let at = self.at();
            let Token::Sign(sign) = *self.peek() else {
                return Ok(left);
            };
            let Some((_, function)) = signs.iter().find(|(own, _)| *own == sign) else {
                return Ok(left);
            };
            self.advance();
            let right = self.level(level + 1)?;
            left = self.push(at, Kind::Binary(*function, left, right));
        }
    }

    /// Signs bind more loosely than powers: `-2^2` is -4.
    fn signed(&mut self) -> Result<usize, SyntaxError> {
        self.deeper(|parser| {
            let at = parser.at();
            if parser.takes("-") {
                let of = parser.signed()?;
                return Ok(parser.push(at, Kind::Unary(Unary::Negate, of)));
            }
            if parser.takes("!") {
                let of = parser.signed()?;
                return Ok(parser.push(at, Kind::Unary(Unary::Not, of)));
            }
            if parser.takes("+") {
                return parser.signed();
            }
            let base = parser.primary()?;
            let at = parser.at();
            if !parser.takes("^") {
                return Ok(base);
            }
            let exponent = parser.signed()?;
            Ok(parser.push(at, Kind::Binary(Binary::Power, base, exponent)))
        })
    }

    fn primary(&mut self) -> Result<usize, SyntaxError> {
        let at = self.at();
        match self.peek().clone() {
            Token::Number(value) => {
                self.advance();
                Ok(self.push(at, Kind::Number(value)))
            }
            Token::Name(name) => {
                self.advance();
                if !self.takes("(") {
                    return Ok(self.push(at, Kind::Name(name)));
                }
                let mut arguments = Vec::new();
                if !self.takes(")") {
                    arguments.push(self.value()?);
                    while self.takes(",") {
                        arguments.push(self.value()?);
                    }
                    self.expect(")")?;
                }
                Ok(self.push(at, Kind::Call(name, arguments)))
            }
            Token::Sign("(") => {
                self.advance();
                let inside = self.value()?;
                self.expect(")")?;
                Ok(inside)
            }
            _ => Err(self.unexpected("a value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(nodes: &[Node], number: usize) -> String {
        let of = |number: &usize| show(nodes, *number);
        match &nodes[number].kind {
            Kind::Number(value) => value.to_string(),
            Kind::Name(name) => name.clone(),
            Kind::Unary(function, a) => format!("{function:?}({})", of(a)),
            Kind::Binary(function, a, b) => format!("{function:?}({},{})", of(a), of(b)),
            Kind::Choose([a, b, c]) => format!("Choose({},{},{})", of(a), of(b), of(c)),
            Kind::Call(name, arguments) => {
                let arguments: Vec<String> = arguments.iter().map(of).collect();
                format!("{name}({})", arguments.join(","))
            }
        }
    }

    fn check(text: &str, expected: &[&str]) {
        let statements = parse(text).unwrap();
        let shown: Vec<String> = statements
            .iter()
            .map(|s| match s.nodes.len() {
                0 => format!("remove {}", s.target),
                len => format!("{}={}", s.target, show(&s.nodes, len - 1)),
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn operators_bind_as_in_cdo() {
        check("a=1+2*3", &["a=Add(1,Multiply(2,3))"]);
        check("a=2-3-4;", &["a=Subtract(Subtract(2,3),4)"]);
        check("a=2^3^2", &["a=Power(2,Power(3,2))"]);
        check("a=-2^2", &["a=Negate(Power(2,2))"]);
        check("a=2^-1", &["a=Power(2,Negate(1))"]);
        check("a=!x+1", &["a=Add(Not(x),1)"]);
        check("a=1||0&&0", &["a=And(Or(1,0),0)"]);
        check("a=2<1==0", &["a=Equal(Less(2,1),0)"]);
        check("a=x<=>y", &["a=Order(x,y)"]);
        check(
            "a=x>1?2:y>1?3:4",
            &["a=Choose(Greater(x,1),2,Choose(Greater(y,1),3,4))"],
        );
        check("a=(1+2)*3", &["a=Multiply(Add(1,2),3)"]);
        check(
            "a=1e-3*.5e2;b=pow(a,2.)",
            &["a=Multiply(0.001,50)", "b=pow(a,2)"],
        );
        check(";;_a = f( ) ;# no\n b=_a\n;", &["_a=f()", "b=_a"]);
        check("a=x;remove(x)", &["a=x", "remove x"]);
    }

    #[test]
    fn errors_say_where() {
        let error = |text: &str| {
            let error = parse(text).unwrap_err();
            (error.at, error.problem)
        };
        let is = |at: usize, problem: &str| (at, problem.to_owned());
        assert_eq!(
            error(""),
            is(0, "there is no statement: write name=expression")
        );
        assert_eq!(error("a=1+"), is(4, "expected a value, found the end"));
        assert_eq!(
            error("a=1 2"),
            is(4, "expected an operator or `;`, found the number 2")
        );
        assert_eq!(error("a=(1"), is(4, "expected `)`, found the end"));
        assert_eq!(error("a=x$y"), is(3, "`$` means nothing here"));
        assert_eq!(
            error("1=a"),
            is(0, "expected the name of a variable, found the number 1")
        );
        assert_eq!(error("a+1"), is(1, "expected `=`, found `+`"));
        assert_eq!(error("a=x?1"), is(5, "expected `:`, found the end"));
        assert_eq!(error("a=é"), is(2, "`é` means nothing here"));
        for open in ["(", "-", "2^", "x?1:", "f("] {
            let (_, problem) = error(&format!("a={}1", open.repeat(10_000)));
            assert_eq!(problem, "nested more than 100 deep", "{open}");
        }
        let long = format!("a=1{}", "+1".repeat(20_000));
        assert_eq!(parse(&long).unwrap()[0].nodes.len(), 40_001);
        assert!(error(&long.repeat(2)).1.contains("at most 65536 are read"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn no_sequence_of_words_panics(
            words in proptest::collection::vec("a|=|\\(|\\)|1|2e|\\.|-|!|\\^|<|=|>|&|\\||\\?|:|;|,|#|remove| |é", 0..40)
        ) {
            let _ = parse(&words.concat());
        }
    }
}
