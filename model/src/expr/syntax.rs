//! What all expressions have in common: document paths, placeholders and function calls, as they are written.
//!
//! Operands are read into one list of [`Term`]s in the order of the text, a call right before its arguments. The form
//! needs no recursion to build, walk or drop, and what is read next from the list is an operand, whole.

use super::lexer::{Cursor, Token, TokenKind};
use crate::error::Result;

/// An operand, or the head of one, still with its placeholders.
#[derive(Debug)]
pub(super) enum Term<'a> {
    /// A document path.
    Path(RawPath<'a>),
    /// `:value`.
    Value(&'a str),
    /// A function; its arguments are the next operands of the list.
    Call(RawCall<'a>),
}

/// A function call as it is written.
#[derive(Debug)]
pub(super) struct RawCall<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: usize,
    pub(super) place: Place,
}

/// Where a function stands, which decides whether it may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where a condition is expected.
    Condition,
    /// Where the value of a SET action is expected.
    Value,
    /// Where an operand of an operator is expected.
    Operand,
    /// Among the arguments of another function.
    Argument,
}

/// A document path as it is written; the first element is a name or a placeholder of one.
#[derive(Debug)]
pub(super) struct RawPath<'a> {
    pub(super) elements: Vec<RawElement<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum RawElement<'a> {
    Name(&'a str),
    NameRef(&'a str),
    Index(&'a str),
}

/// What holds the operand that is being read.
enum Frame {
    /// A parenthesis.
    Parenthesis,
    /// The call at this place of the terms.
    Call(usize),
}

/// Reads paths and operands.
#[derive(Debug)]
pub(super) struct Syntax<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) terms: Vec<Term<'a>>,
    /// Whether something stood in two pairs of parentheses that one pair would have held together.
    pub(super) redundant_parentheses: bool,
    /// Words that cannot begin or continue a path.
    keywords: &'static [&'static str],
    /// Whether `(a.b).c` is a path.
    paths_in_parentheses: bool,
}

impl<'a> Syntax<'a> {
    pub(super) fn new(cursor: Cursor<'a>, keywords: &'static [&'static str]) -> Self {
        Self {
            cursor,
            terms: Vec::new(),
            redundant_parentheses: false,
            keywords,
            paths_in_parentheses: false,
        }
    }

    /// Lets `(a.b).c` be a path, which it is in conditions only.
    pub(super) fn with_paths_in_parentheses(mut self) -> Self {
        self.paths_in_parentheses = true;
        self
    }

    /// Reads one operand; `place` is where it stands.
    pub(super) fn operand(&mut self, place: Place) -> Result<()> {
        let mut frames = Vec::new();
        loop {
            self.open_operand(place, &mut frames)?;
            if self.close_operand(&mut frames)? {
                return Ok(());
            }
        }
    }

    /// Reads parentheses and function names up to and with the first path or value.
    fn open_operand(&mut self, place: Place, frames: &mut Vec<Frame>) -> Result<()> {
        loop {
            if self.cursor.take(TokenKind::Open) {
                frames.push(Frame::Parenthesis);
            } else if self.at_call() {
                let within_call = frames.iter().any(|frame| matches!(frame, Frame::Call(_)));
                frames.push(Frame::Call(self.terms.len()));
                self.call_head(if within_call { Place::Argument } else { place });
            } else {
                return self.simple_operand();
            }
        }
    }

    /// Reads what closes after a whole operand. Tells whether that was all, and not yet another argument follows.
    fn close_operand(&mut self, frames: &mut Vec<Frame>) -> Result<bool> {
        let mut in_parentheses = false;
        let mut is_path = matches!(self.terms.last(), Some(Term::Path(_)));
        loop {
            match frames.last() {
                None => return Ok(true),
                Some(Frame::Parenthesis) => {
                    self.cursor.expect(TokenKind::Close)?;
                    self.redundant_parentheses |= in_parentheses;
                    in_parentheses = !(is_path && self.path_goes_on()?);
                }
                Some(&Frame::Call(call)) => {
                    self.count_argument(call);
                    if self.cursor.take(TokenKind::Comma) {
                        return Ok(false);
                    }
                    self.cursor.expect(TokenKind::Close)?;
                    (in_parentheses, is_path) = (false, false);
                }
            }
            frames.pop();
        }
    }

    /// Reads a path or a value.
    pub(super) fn simple_operand(&mut self) -> Result<()> {
        let term = match self.cursor.peek().kind {
            TokenKind::ValueRef => Term::Value(self.cursor.next().text),
            _ => Term::Path(self.path()?),
        };
        self.terms.push(term);
        Ok(())
    }

    /// Whether a function call comes next.
    pub(super) fn at_call(&self) -> bool {
        let token = self.cursor.peek();
        token.kind == TokenKind::Word
            && !self.is_keyword(&token)
            && self.cursor.peek_second().kind == TokenKind::Open
    }

    /// Reads a function's name and the parenthesis after it.
    fn call_head(&mut self, place: Place) {
        let name = self.cursor.next().text;
        self.cursor.next();
        self.terms.push(Term::Call(RawCall { name, arguments: 0, place }));
    }

    fn count_argument(&mut self, call: usize) {
        if let Some(Term::Call(call)) = self.terms.get_mut(call) {
            call.arguments += 1;
        }
    }

    /// Reads a document path.
    pub(super) fn path(&mut self) -> Result<RawPath<'a>> {
        let mut elements = vec![self.name()?];
        self.more_elements(&mut elements)?;
        Ok(RawPath { elements })
    }

    /// After the parenthesis that closes a path, the last term: reads its further elements, and tells whether it has any.
    pub(super) fn path_goes_on(&mut self) -> Result<bool> {
        let next = self.cursor.peek().kind;
        if !self.paths_in_parentheses || !matches!(next, TokenKind::Dot | TokenKind::OpenBracket) {
            return Ok(false);
        }
        let Some(Term::Path(mut path)) = self.terms.pop() else {
            return Err(self.cursor.syntax_error());
        };
        self.more_elements(&mut path.elements)?;
        self.terms.push(Term::Path(path));
        Ok(true)
    }

    fn more_elements(&mut self, elements: &mut Vec<RawElement<'a>>) -> Result<()> {
        loop {
            if self.cursor.take(TokenKind::Dot) {
                elements.push(self.name()?);
            } else if self.cursor.take(TokenKind::OpenBracket) {
                let index = self.cursor.expect(TokenKind::Integer)?;
                elements.push(RawElement::Index(index.text));
                self.cursor.expect(TokenKind::CloseBracket)?;
            } else {
                return Ok(());
            }
        }
    }

    fn name(&mut self) -> Result<RawElement<'a>> {
        let token = self.cursor.peek();
        match token.kind {
            TokenKind::Word if !self.is_keyword(&token) => {
                Ok(RawElement::Name(self.cursor.next().text))
            }
            TokenKind::NameRef => Ok(RawElement::NameRef(self.cursor.next().text)),
            _ => Err(self.cursor.syntax_error()),
        }
    }

    fn is_keyword(&self, token: &Token<'_>) -> bool {
        self.keywords.iter().any(|keyword| token.is(keyword))
    }
}
