//! From tokens to a tree, by precedence; everything that needs no event is checked here.

use super::function::Function;
use super::lexer::{Kind, Token, tokens};
use super::value::{Type, Value};
use super::{MAX_NESTING, MAX_NODES, SyntaxError};
use crate::wildcard::Piece;

/// An operator between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    And,
    Or,
    Xor,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Literal(Value<'static>),
    Attribute(String),
    Exists(String),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Like {
        text: Box<Node>,
        pattern: Vec<Piece>,
        negated: bool,
    },
    In {
        value: Box<Node>,
        set: Vec<Node>,
        negated: bool,
    },
    Call(Function, Vec<Node>),
}

impl Node {
    /// What it gives, whatever the event; attributes are what the event says.
    pub(super) fn gives(&self) -> Option<Type> {
        match self {
            Self::Literal(value) => Some(value.kind()),
            Self::Attribute(_) => None,
            Self::Exists(_) | Self::Not(_) | Self::Like { .. } | Self::In { .. } => {
                Some(Type::Boolean)
            }
            Self::Negate(_) => Some(Type::Integer),
            Self::Binary(operator, ..) => Some(operator.gives()),
            Self::Call(function, _) => Some(function.gives),
        }
    }

    pub(super) fn mentions(&self, attribute: &str) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Attribute(name) | Self::Exists(name) => name == attribute,
            Self::Not(one) | Self::Negate(one) | Self::Like { text: one, .. } => {
                one.mentions(attribute)
            }
            Self::Binary(_, left, right) => left.mentions(attribute) || right.mentions(attribute),
            Self::In { value, set, .. } => {
                value.mentions(attribute) || set.iter().any(|one| one.mentions(attribute))
            }
            Self::Call(_, given) => given.iter().any(|one| one.mentions(attribute)),
        }
    }
}

impl Operator {
    pub(super) fn gives(self) -> Type {
        match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder => {
                Type::Integer
            }
            _ => Type::Boolean,
        }
    }

    /// The operator that a token is, with how tightly it binds; LIKE and IN bind tighter.
    fn of(kind: &Kind) -> Option<(Self, u8)> {
        Some(match kind {
            Kind::Keyword("XOR") => (Self::Xor, 1),
            Kind::Keyword("OR") => (Self::Or, 2),
            Kind::Keyword("AND") => (Self::And, 3),
            Kind::Sign("=") => (Self::Equal, 4),
            Kind::Sign("!=" | "<>") => (Self::Unequal, 4),
            Kind::Sign("<") => (Self::Less, 4),
            Kind::Sign("<=") => (Self::LessOrEqual, 4),
            Kind::Sign(">") => (Self::Greater, 4),
            Kind::Sign(">=") => (Self::GreaterOrEqual, 4),
            Kind::Sign("+") => (Self::Add, 5),
            Kind::Sign("-") => (Self::Subtract, 5),
            Kind::Sign("*") => (Self::Multiply, 6),
            Kind::Sign("/") => (Self::Divide, 6),
            Kind::Sign("%") => (Self::Remainder, 6),
            _ => return None,
        })
    }
}

/// Reads a whole expression.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        nesting: 0,
        nodes: 0,
    };
    let root = parser.expression(0)?;
    match parser.peek() {
        Kind::End => Ok(root),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    nesting: usize,
    nodes: usize,
}

impl Parser {
    /// The last token is the end, which nothing steps over.
    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Kind {
        &self.token().kind
    }

    fn next(&mut self) -> Token {
        let token = self.token().clone();
        self.at += 1;
        token
    }

    /// Steps over a token if it is this one.
    fn take(&mut self, kind: &Kind) -> bool {
        let is_it = self.peek() == kind;
        self.at += usize::from(is_it);
        is_it
    }

    fn error(&self, problem: impl Into<String>) -> SyntaxError {
        SyntaxError {
            column: self.token().column,
            problem: problem.into(),
        }
    }

    fn unexpected(&self, expected: &str) -> SyntaxError {
        let found = match self.peek() {
            Kind::Keyword(word) | Kind::Sign(word) => format!("`{word}`"),
            Kind::Word(word) | Kind::Number(word) => format!("`{word}`"),
            Kind::Text(_) => "a text".to_owned(),
            Kind::End => "the end".to_owned(),
        };
        self.error(format!("expected {expected}, found {found}"))
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), SyntaxError> {
        if self.take(&Kind::Sign(sign)) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    /// Counts a part of the expression at the place of the token before.
    fn count(&mut self, node: Node) -> Result<Node, SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.error(format!(
                "an expression may have {MAX_NODES} operators, calls and values"
            )));
        }
        Ok(node)
    }

    /// Reads operators that bind tighter than `least`; equal ones from left to right.
    fn expression(&mut self, least: u8) -> Result<Node, SyntaxError> {
        let mut left = self.operand()?;
        while let Some((operator, binding)) = Operator::of(self.peek()) {
            if binding <= least {
                break;
            }
            self.next();
            let right = self.expression(binding)?;
            left = self.count(Node::Binary(operator, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    /// A unary expression with the LIKE and IN that follow it.
    fn operand(&mut self) -> Result<Node, SyntaxError> {
        let mut node = self.unary()?;
        loop {
            let negated = *self.peek() == Kind::Keyword("NOT");
            let ahead = self.tokens.get(self.at + usize::from(negated));
            let keyword = ahead.map(|token| &token.kind);
            let is_like = keyword == Some(&Kind::Keyword("LIKE"));
            if !is_like && keyword != Some(&Kind::Keyword("IN")) {
                return Ok(node);
            }
            self.at += 1 + usize::from(negated);
            let one = Box::new(node);
            let grown = if is_like {
                let pattern = self.pattern()?;
                Node::Like {
                    text: one,
                    pattern,
                    negated,
                }
            } else {
                self.expect("(")?;
                self.descend()?;
                let set = self.list()?;
                self.nesting -= 1;
                if set.is_empty() {
                    return Err(self.error("a set has at least one value"));
                }
                Node::In {
                    value: one,
                    set,
                    negated,
                }
            };
            node = self.count(grown)?;
        }
    }

    fn pattern(&mut self) -> Result<Vec<Piece>, SyntaxError> {
        let Kind::Text(text) = self.peek() else {
            return Err(self.unexpected("a pattern in quotes"));
        };
        let mut pieces = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                '%' => Piece::Any,
                '_' => Piece::One,
                '\\' => match characters.next_if(|next| matches!(next, '%' | '_')) {
                    Some(escaped) => Piece::Exactly(escaped),
                    None => Piece::Exactly('\\'),
                },
                other => Piece::Exactly(other),
            });
        }
        self.next();
        Ok(pieces)
    }

    /// Goes one level down; whoever does comes up again.
    fn descend(&mut self) -> Result<(), SyntaxError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error(format!("nested deeper than {MAX_NESTING} levels")));
        }
        Ok(())
    }

    fn unary(&mut self) -> Result<Node, SyntaxError> {
        self.descend()?;
        let node = if self.take(&Kind::Keyword("NOT")) {
            Node::Not(Box::new(self.unary()?))
        } else if matches!(self.peek(), Kind::Sign("-" | "+")) {
            let sign = self.next();
            match self.peek().clone() {
                Kind::Number(digits) => {
                    self.at += 1;
                    let minus = sign.kind == Kind::Sign("-");
                    number(&digits, minus, sign.column)?
                }
                _ if sign.kind == Kind::Sign("-") => Node::Negate(Box::new(self.unary()?)),
                _ => return Err(self.unexpected("a number")),
            }
        } else {
            self.primary()?
        };
        self.nesting -= 1;
        self.count(node)
    }

    fn primary(&mut self) -> Result<Node, SyntaxError> {
        let column = self.token().column;
        match self.peek().clone() {
            Kind::Sign("(") => {
                self.next();
                let inner = self.expression(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Keyword(word @ ("TRUE" | "FALSE")) => {
                self.next();
                Ok(Node::Literal(Value::Boolean(word == "TRUE")))
            }
            Kind::Number(digits) => {
                self.next();
                number(&digits, false, column)
            }
            Kind::Text(text) => {
                self.next();
                Ok(Node::Literal(Value::String(text.into())))
            }
            Kind::Keyword("EXISTS") => {
                self.next();
                let Kind::Word(name) = self.peek().clone() else {
                    return Err(self.unexpected("the name of an attribute"));
                };
                self.attribute(name).map(Node::Exists)
            }
            Kind::Word(name) => {
                let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
                if next != Some(&Kind::Sign("(")) {
                    return self.attribute(name).map(Node::Attribute);
                }
                self.at += 2;
                let given = self.list()?;
                let function = Function::find(&name, given.len())
                    .map_err(|problem| SyntaxError { column, problem })?;
                Ok(Node::Call(function, given))
            }
            _ => Err(self.unexpected("a value, an attribute or a function")),
        }
    }

    /// Steps over the name of an attribute.
    fn attribute(&mut self, name: String) -> Result<String, SyntaxError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !name.bytes().all(is_plain) {
            return Err(self.error(format!(
                "`{name}` is no attribute: their names are a-z and 0-9; texts are in quotes"
            )));
        }
        if name == "data" {
            return Err(self.error("CloudEvents SQL does not look into `data`"));
        }
        self.next();
        Ok(name)
    }

    /// Expressions parted by commas, up to the closing parenthesis; the opening one is read.
    fn list(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let mut list = Vec::new();
        if self.take(&Kind::Sign(")")) {
            return Ok(list);
        }
        loop {
            list.push(self.expression(0)?);
            if !self.take(&Kind::Sign(",")) {
                self.expect(")")?;
                return Ok(list);
            }
        }
    }
}

fn number(digits: &str, minus: bool, column: usize) -> Result<Node, SyntaxError> {
    let signed = if minus {
        format!("-{digits}")
    } else {
        digits.to_owned()
    };
    match signed.parse() {
        Ok(value) => Ok(Node::Literal(Value::Integer(value))),
        Err(_) => Err(SyntaxError {
            column,
            problem: format!("{signed} is beyond the numbers of 32 bits"),
        }),
    }
}
