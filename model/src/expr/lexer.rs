//! Tokens, a cursor over them, and the text of every syntax error.

use super::ExpressionKind;
use crate::error::{Error, Result};
use crate::limits::EXPRESSION_BYTES_MAX;

/// What a token is. Keywords are [`Word`](Self::Word)s: what is one depends on the expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A letter, then letters, digits and underscores.
    Word,
    /// `#` and a name.
    NameRef,
    /// `:` and a name.
    ValueRef,
    /// Digits without leading zeros.
    Integer,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
    Dot,
    Plus,
    Minus,
    /// A character that begins no token: a syntax error wherever it stands.
    Unknown,
    /// The end of the text.
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind,
    pub(super) text: &'a str,
    /// Where it begins, in bytes from the beginning of the text.
    start: usize,
}

impl Token<'_> {
    /// Whether this is a keyword; their case does not matter.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// A text's tokens, and how far they were read.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    kind: ExpressionKind,
    text: &'a str,
    /// Never empty: the last is [`TokenKind::End`].
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads a text into tokens; refuses one that is too long or has none.
    pub(super) fn new(kind: ExpressionKind, text: &'a str) -> Result<Self> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(kind.invalid(format_args!(
                "Expression size has exceeded the maximum allowed size; expression size: {}",
                text.len()
            )));
        }
        let tokens = tokens(text);
        if tokens.len() == 1 {
            return Err(kind.invalid("The expression can not be empty;"));
        }
        Ok(Self { kind, text, tokens, at: 0 })
    }

    /// The next token, not yet taken.
    pub(super) fn peek(&self) -> Token<'a> {
        self.token(self.at)
    }

    /// The token after the next.
    pub(super) fn peek_second(&self) -> Token<'a> {
        self.token(self.at + 1)
    }

    /// Takes the next token.
    pub(super) fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    /// Takes the next token if it is of this kind.
    pub(super) fn take(&mut self, kind: TokenKind) -> bool {
        let found = self.peek().kind == kind;
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes the next token if it is this keyword.
    pub(super) fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.peek().is(keyword);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes the next token, which must be of this kind.
    pub(super) fn expect(&mut self, kind: TokenKind) -> Result<Token<'a>> {
        if self.peek().kind == kind { Ok(self.next()) } else { Err(self.syntax_error()) }
    }

    /// The error that the next token may not stand where it does. It shows the tokens on both sides.
    pub(super) fn syntax_error(&self) -> Error {
        let token = self.peek();
        let before = self.at.checked_sub(1).map_or(token, |at| self.token(at));
        let after = self.token(self.at + 1);
        let near = self.text.get(before.start..after.end()).unwrap_or_default().trim_end();
        let shown = if token.kind == TokenKind::End { "<EOF>" } else { token.text };
        self.kind.invalid(format_args!("Syntax error; token: \"{shown}\", near: \"{near}\""))
    }

    fn token(&self, at: usize) -> Token<'a> {
        let end = Token { kind: TokenKind::End, text: "", start: self.text.len() };
        self.tokens.get(at).copied().unwrap_or(end)
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        if blank > 0 {
            start += blank;
            continue;
        }
        let (kind, len) = first_token(rest);
        let token = rest.get(..len).unwrap_or(rest);
        tokens.push(Token { kind, text: token, start });
        start += token.len();
    }
    tokens.push(Token { kind: TokenKind::End, text: "", start: text.len() });
    tokens
}

/// The kind and the length in bytes of the token that a text without leading blanks begins with.
fn first_token(text: &str) -> (TokenKind, usize) {
    use TokenKind::*;
    let bytes = text.as_bytes();
    let name_from =
        |at: usize| at + bytes.iter().skip(at).take_while(|byte| is_name_byte(**byte)).count();
    match (bytes.first().copied().unwrap_or_default(), bytes.get(1).copied()) {
        (b'#', Some(next)) if is_name_byte(next) => (NameRef, name_from(1)),
        (b':', Some(next)) if is_name_byte(next) => (ValueRef, name_from(1)),
        (b'<', Some(b'>')) => (NotEqual, 2),
        (b'<', Some(b'=')) => (LessOrEqual, 2),
        (b'>', Some(b'=')) => (GreaterOrEqual, 2),
        (b'<', _) => (Less, 1),
        (b'>', _) => (Greater, 1),
        (b'=', _) => (Equal, 1),
        (b'(', _) => (Open, 1),
        (b')', _) => (Close, 1),
        (b'[', _) => (OpenBracket, 1),
        (b']', _) => (CloseBracket, 1),
        (b',', _) => (Comma, 1),
        (b'.', _) => (Dot, 1),
        (b'+', _) => (Plus, 1),
        (b'-', _) => (Minus, 1),
        (b'0', _) => (Integer, 1),
        (b'1'..=b'9', _) => {
            (Integer, bytes.iter().take_while(|byte| byte.is_ascii_digit()).count())
        }
        (first, _) if first.is_ascii_alphabetic() => (Word, name_from(0)),
        _ => (Unknown, text.chars().next().map_or(1, char::len_utf8)),
    }
}

/// Whether a byte may stand in a name after its first letter, or after `#` and `:`.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
